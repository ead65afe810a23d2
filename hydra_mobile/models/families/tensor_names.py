"""What the tensors of a model folder are called in memory.

transformers 5 renames tensors of many classes while it loads a folder, and back while it saves. An
adapter knows the names in memory, a file those on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from transformers import core_model_loading
from transformers.conversion_mapping import get_model_conversion_mapping

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.model_folder import weight_files
from hydra_mobile.core.safetensors_io import places
from hydra_mobile.models.on_meta import on_meta


def stored_name(folder: Path, empty: Callable[[], Any]) -> Callable[[str], str | None]:
    """Return what gives the name in `folder` of a tensor that has another one in memory.

    Args:
        folder: of the weights.
        empty: makes the model of transformers; weights are not needed.
    """

    @cache
    def names() -> dict[str, str]:
        return _memory_to_disk(folder, empty)

    return lambda name: names().get(name)


def _memory_to_disk(folder: Path, empty: Callable[[], Any]) -> dict[str, str]:
    model = on_meta(empty, str(folder / "config.json"))
    found: dict[str, str] = {}
    for file in weight_files(folder):
        found.update(names_in_memory(folder, model, places(file)))
    return found


def names_in_memory(folder: Path, model: Any, stored: Iterable[str]) -> dict[str, str]:
    """Return name in memory -> name on disk, by transformers' own renaming.

    Args:
        folder: names the weights in messages.
        model: of transformers, on the meta device.
        stored: names on disk.

    Raises:
        ArtifactError: the class merges or splits tensors while it loads, as it does with fused
            experts: no name says what a low-rank change of one of them is on disk.
    """
    if combined := combines_tensors(model):
        raise ArtifactError(
            f"{folder}: {type(model).__name__} makes {combined} kinds of tensors out of "
            "several stored ones, which an adapter cannot be merged into.",
            "Keep the adapter beside its base.",
        )
    steps = get_model_conversion_mapping(model)
    renamings = [s for s in steps if isinstance(s, core_model_loading.WeightRenaming)]
    state = model.state_dict()
    found: dict[str, str] = {}
    for name in stored:
        renamed, _ = core_model_loading.rename_source_key(
            name, renamings, [], model.base_model_prefix, state
        )
        found[renamed] = name
    return found


def combines_tensors(model: Any) -> int:
    """Return how many kinds of tensors a class merges or splits while it loads."""
    steps = get_model_conversion_mapping(model)
    return sum(isinstance(step, core_model_loading.WeightConverter) for step in steps)
