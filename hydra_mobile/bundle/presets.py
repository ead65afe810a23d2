"""Presets: the precision of each part of the model, by name, the same for every target.

A preset is data. Each target reads it and does what its runtime can; what it cannot, it lists as a
fallback in the bundle's manifest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.registry import nearest

#: fp32; fp16: weights in half precision; "w8a8": int8 weights per channel, int8 activations
#: quantized at run time; "w4a8": int4 weights per group, int8 activations at run time; "w8", "w4":
#: int8 rows or int4 groups, weights only.
Precision = Literal["fp32", "fp16", "w8", "w8a8", "w4", "w4a8"]
#: In place of data that 4-bit weights are rounded on: text that the model writes.
SELF = "self"


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
        group_size: weights that share one scale at 4 bits.
        sensitive: what parts of the decoder, the head and the embedding get that lose most at 4
            bits, as measured on the model by `hydra_export`; None: no part is raised.
        budget: size of the programs, as a share of the same in fp16, up to which parts are raised.
        rounding: "calibrated" (GPTQ) or "nearest", of 4-bit linears.
    """

    name: str
    vision: Precision
    projector: Precision
    embedding: Precision
    decoder: Precision
    head: Precision
    group_size: int = 32
    sensitive: Precision | None = None
    budget: float | None = None
    rounding: Literal["calibrated", "nearest"] = "calibrated"

    @property
    def has_4bit_weights(self) -> bool:
        """Whether any part is rounded so coarsely that calibration changes it."""
        parts = (self.vision, self.projector, self.embedding, self.decoder, self.head)
        return any(part.startswith("w4") for part in parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the preset as the manifest stores it."""
        return asdict(self)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("fp32", "fp32", "fp32", "fp32", "fp32", "fp32"),
        Preset("fp16", "fp16", "fp16", "fp16", "fp16", "fp16"),
        Preset("int4", "w8a8", "w8a8", "w4", "w4a8", "w4a8", sensitive="w8a8", budget=0.30),
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
