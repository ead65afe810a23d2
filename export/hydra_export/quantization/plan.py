"""The plan of a quantized decoder as an object, and as files that a second export reads.

Runtimes of one preset compute with the same codes and scales, so that rounding, the longest part of
an export, is done once for all of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from hydra_mobile.adapters.int4_grid import Int4Weight
from hydra_mobile.bundle.presets import Precision, Preset
from hydra_mobile.core.files import read_json, require_free_space, write_json
from hydra_mobile.core.kept import key_of

#: Folder of the cache.
SHELF = "rounded"
# Part of the key: raise it when the same model would be rounded otherwise, or kept otherwise.
_FORMAT = 3
_PLAN, _WEIGHTS = "plan.json", "weights.safetensors"
# Free space, in sizes of what is kept, that a bundle still needs.
_ROOM = 4


@dataclass(frozen=True)
class QuantizationPlan:
    """Precision of every part of a decoder.

    Attributes:
        precisions: unit of `gptq.linear_units`, "head" and "embedding" -> precision.
        int4: rounded weights of the 4-bit units, and of "embedding" where it has 4 bits; the same
            object as the head's where a model's head is its table.
        details: algorithm, group, grid, calibration, costs and choice, for the manifest.
        fallbacks: one sentence for each part that did not get what the preset names.
    """

    precisions: dict[str, Precision]
    int4: dict[str, Int4Weight] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    fallbacks: list[str] = field(default_factory=list)

    @property
    def tied(self) -> bool:
        """Whether the embedding and the head are one 4-bit weight."""
        return "head" in self.int4 and self.int4.get("embedding") is self.int4["head"]


def plan_key(model_key: str, preset: Preset, calibration: str) -> str:
    """Return the name under which a plan is kept.

    Args:
        model_key: hash of the model's weights and configuration, and of the packages that run it.
        preset: every precision of it, the group and the budget decide; its name does not.
        calibration: `Calibration.digest`.
    """
    return key_of(
        {
            "format": _FORMAT,
            "model": model_key,
            "preset": asdict(preset) | {"name": ""},
            "calibration": calibration,
        }
    )


def save_plan(plan: QuantizationPlan, folder: Path) -> None:
    """Write a plan into an empty folder: about half a byte for each 4-bit weight.

    Raises:
        DiskError: the disk has no room for it beside a bundle.
    """
    tensors = {}
    own = {k: weight for k, weight in plan.int4.items() if k != "embedding" or not plan.tied}
    for name, weight in own.items():
        tensors[f"{name}.codes"] = weight.pairs
        # Every scale is a bfloat16 value.
        tensors[f"{name}.scales"] = weight.scales.bfloat16()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    require_free_space(folder, _ROOM * size, "rounded weights for the next export")
    save_file(tensors, folder / _WEIGHTS)
    facts = {
        "precisions": plan.precisions,
        "details": plan.details,
        "fallbacks": plan.fallbacks,
        "tied": plan.tied,
        "errors": {name: weight.error for name, weight in own.items()},
    }
    write_json(folder / _PLAN, facts)


def load_plan(folder: Path) -> QuantizationPlan:
    """Read what `save_plan` wrote."""
    facts = read_json(folder / _PLAN, "the plan of a quantized decoder")
    tensors = load_file(folder / _WEIGHTS)
    int4 = {
        name: Int4Weight(
            tensors[f"{name}.codes"], tensors[f"{name}.scales"].to(torch.float32), error
        )
        for name, error in facts["errors"].items()
    }
    if facts["tied"]:
        int4["embedding"] = int4["head"]
    return QuantizationPlan(facts["precisions"], int4, facts["details"], facts["fallbacks"])
