"""Presets: the precision of each part of the model, by name, the same for every target.

A preset is data. Each target reads it and does what its runtime can; what it cannot, it lists as a
fallback in the bundle's manifest. Called by the targets and by the command line.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from hydra_mobile.errors import HydraError
from hydra_mobile.registry import nearest

#: fp32; "w8a8": int8 weights per channel, int8 activations quantised at run time;
#: "w4a8": int4 weights per group, int8 activations at run time; "w8": int8 weights only.
Precision = Literal["fp32", "w8", "w8a8", "w4a8"]


@dataclass(frozen=True)
class Preset:
    """Precision of every part.

    Attributes:
        name: what the user types.
        vision: the vision tower.
        projector: the projector.
        embedding: the token embedding table.
        decoder: linears of the decoder layers.
        head: the output head over the vocabulary.
        group_size: weights that share one scale in a 4-bit linear.
        sensitive: q, k, v, down and the head where a target rounds to the nearest; None means as
            `decoder` and `head`. Targets that calibrate their rounding do not read it. A small
            model loses most in these; `experiments/presets_executorch.py` measures how much.
    """

    name: str
    vision: Precision
    projector: Precision
    embedding: Precision
    decoder: Precision
    head: Precision
    group_size: int = 32
    sensitive: Precision | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the preset as the manifest stores it."""
        return asdict(self)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("fp32", "fp32", "fp32", "fp32", "fp32", "fp32"),
        Preset("int4", "w8a8", "w8a8", "w8", "w4a8", "w4a8", sensitive="w8a8"),
        Preset("int8", "w8a8", "w8a8", "w8", "w8a8", "w8a8"),
    )
}


def preset_named(name: str) -> Preset:
    """Return the preset called `name`.

    Raises:
        HydraError: there is none; the message lists those that exist.
    """
    if name not in PRESETS:
        raise HydraError(f"Unknown preset `{name}`.", nearest(name, PRESETS))
    return PRESETS[name]
