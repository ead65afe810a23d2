"""Weights that a preset cannot hold, found before anything is cast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from hydra_mobile.bundle.presets import PRESETS, Precision, Preset
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.finite import largest, named_weights

_HALF = 65504.0  # the largest float16
#: Largest absolute weight of each precision. Scales of integers are stored as float16 by some
#: targets; those of 4-bit groups reach 2**15, see `gptq`.
_LARGEST: dict[Precision, float] = {
    "fp16": _HALF,
    "w8": 127 * _HALF,
    "w8a8": 127 * _HALF,
    "w4": 7 * 2.0**15,
    "w4a8": 7 * 2.0**15,
}


def require_fits(model: nn.Module, preset: Preset, folder: Path) -> None:
    """Raise unless the preset can hold every weight of the model that it casts.

    Args:
        model: a `VisionLanguageModel`, its weights finite.
        preset: precision of every part.
        folder: the model's, for the message.

    Raises:
        ArtifactError: names the tensor, its largest value, and the presets that can hold it.
    """
    for name, tensor, parts in _cast_weights(model):
        bounds = [_LARGEST.get(getattr(preset, part), float("inf")) for part in parts]
        found = largest(tensor)
        if not found <= min(bounds):
            part = parts[bounds.index(min(bounds))]
            holding = [
                other.name
                for other in PRESETS.values()
                if all(found <= _LARGEST.get(getattr(other, p), float("inf")) for p in parts)
            ]
            raise ArtifactError(
                f"{folder}: `{name}` holds {found:.3g}; preset {preset.name} keeps the {part} in "
                f"{getattr(preset, part)}, which ends at {min(bounds):.4g}.",
                f"Export with --preset {' or '.join(holding)}."
                if holding
                else "No preset can hold it.",
            )


def _cast_weights(model: nn.Module) -> Iterator[tuple[str, Tensor, tuple[str, ...]]]:
    """Yield the weights that presets cast, and the parts of a preset that each belongs to."""
    tied = bool(getattr(getattr(model, "config", None), "tie_word_embeddings", False))
    text = getattr(getattr(model, "config", None), "text_config", None)
    tied = tied or bool(getattr(text, "tie_word_embeddings", False))
    for name, tensor in named_weights(model):
        top = name.split(".")[0]
        if top == "vision_tower":
            yield name, tensor, ("vision",)
        elif top == "projector":
            yield name, tensor, ("projector",)
        elif "embed_tokens" in name:
            yield name, tensor, ("embedding", "head") if tied else ("embedding",)
        elif "lm_head" in name:
            yield name, tensor, ("head",)
        elif isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Linear):
            # Norms stay in fp32.
            yield name, tensor, ("decoder",)
