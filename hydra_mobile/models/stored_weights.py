"""Do the weight files of a folder hold the model that its config.json describes.

Looked at before any memory is asked for: a config.json may describe any size, and what its files do
not hold would be made at random. Of the files only the headers are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hydra_mobile.core.boundaries import shown
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.model_folder import weight_files
from hydra_mobile.core.safetensors_io import DTYPES, Place, places
from hydra_mobile.models.families.tensor_names import combines_tensors, names_in_memory

# Names of each kind that a message shows.
_SHOWN = 3
# Tables that are computed and not stored: rotary angles, positions. Those of models take kilobytes.
_MOST_COMPUTED = 1 << 28
_FIX = "The files are of another model, or were altered: make or fetch the folder again."

Found = tuple[Path, str, Place]


def require_stored(folder: Path, model: Any) -> None:
    """Raise unless the files hold every weight of a model, in its shape and as numbers.

    Args:
        folder: of config.json and weights.
        model: of transformers, on the meta device.

    Raises:
        ArtifactError: a tensor is missing, has another shape or holds no floating-point numbers
            where the model has them; names file, key, what was found and what was expected.
    """
    if combines_tensors(model):
        _require_as_many(folder, model)
        return
    wanted = dict(model.state_dict())
    stored = _stored(folder, model)
    for name, (file, key, place) in stored.items():
        if name in wanted:
            _require_form(folder, wanted[name], file, key, place)
    missing = sorted(set(wanted) - set(stored) - _made_elsewhere(model, stored))
    if missing:
        raise ArtifactError(
            f"The weights in {folder} do not fit its config.json: {len(missing)} tensors are "
            f"missing, for example {', '.join(missing[:_SHOWN])}.",
            _FIX,
            where=str(folder / "config.json"),
            found=f"{len(stored)} tensors in {_names(folder)}",
            expected=f"`{missing[0]}` {tuple(wanted[missing[0]].shape)}",
        )
    computed = sum(b.numel() * b.element_size() for b in model.buffers())
    if computed > max(_MOST_COMPUTED, sum(place.size for _, _, place in stored.values())):
        raise ArtifactError(
            f"{folder / 'config.json'} describes tables of {computed / 1e9:.1f} GB beside the "
            "weights.",
            _FIX,
            where=str(folder / "config.json"),
            found=f"{computed / 1e9:.1f} GB of positions and angles",
            expected="less than the weights",
        )


def _require_as_many(folder: Path, model: Any) -> None:
    """Raise where the model is larger than its files: which tensor becomes which is not known."""
    needed = sum(weight.numel() for weight in model.parameters())
    held = sum(
        math.prod(place.shape) for file in weight_files(folder) for place in places(file).values()
    )
    if needed > held:
        raise ArtifactError(
            f"The weights in {folder} do not fit its config.json.",
            _FIX,
            where=str(folder / "config.json"),
            found=f"{held:,} numbers in {_names(folder)}",
            expected=f"{needed:,}",
        )


def _stored(folder: Path, model: Any) -> dict[str, Found]:
    """Return where each tensor lies by its name in memory."""
    found: dict[str, Found] = {}
    for file in weight_files(folder):
        held = places(file)
        for name, key in names_in_memory(folder, model, held).items():
            found[name] = (file, key, held[key])
    return found


def _require_form(folder: Path, wanted: torch.Tensor, file: Path, key: str, place: Place) -> None:
    shape = tuple(wanted.shape)
    kept = DTYPES.get(place.dtype)
    numbers = kept is not None and kept.is_floating_point
    if place.shape == shape and (numbers or not wanted.is_floating_point()):
        return
    if place.shape == shape:
        what = f"has dtype {place.dtype}"
        fix = "Take the checkpoint as it was before it was quantized."
        found, expected = place.dtype, "one of F64, F32, F16, BF16"
    else:
        what, fix = f"has shape {shown_shape(place.shape)}", _FIX
        found, expected = shown_shape(place.shape), shown_shape(shape)
    raise ArtifactError(
        f"{file}: `{key}` {what}, {folder / 'config.json'} describes {expected}.",
        fix,
        where=f"{file}, {shown(key)}",
        found=found,
        expected=expected,
    )


def shown_shape(shape: tuple[int, ...]) -> str:
    """Return a shape as messages show it, for example "64 x 320"."""
    return " x ".join(map(str, shape)) or "one number"


def _made_elsewhere(model: Any, stored: Mapping[str, Found]) -> set[str]:
    """Return the tensors that need not be stored: those of another name, and constants."""
    tied: Mapping[str, str] = getattr(model, "all_tied_weights_keys", {})
    made = {name for pair in tied.items() for name in pair if set(pair) & set(stored)}
    patterns = getattr(model, "_keys_to_ignore_on_load_missing", None) or ()
    ignored = [re.compile(pattern) for pattern in patterns]
    return made | {
        name for name in model.state_dict() if any(each.search(name) for each in ignored)
    }


def _names(folder: Path) -> str:
    files = [file.name for file in weight_files(folder)]
    return files[0] if len(files) == 1 else f"{len(files)} files"
