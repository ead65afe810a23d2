"""CLIP and SigLIP folders as the vision tower of a base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.model_folder import read_config
from hydra_mobile.core.progress import Log
from hydra_mobile.models.checkpoints.hub import checkpoint_folder
from hydra_mobile.models.checkpoints.keys import vision_layout
from hydra_mobile.models.checkpoints.mobilevlm import CLIP_L_336_ID
from hydra_mobile.models.checkpoints.part_configs import vision_arguments
from hydra_mobile.models.checkpoints.tensor_map import Source
from hydra_mobile.models.checkpoints.weights import open_weights


def read_tower(folder: Path) -> dict[str, Any]:
    """Return the name and arguments of the tower in a CLIP or SigLIP folder."""
    file = folder / "config.json"
    return vision_arguments(read_config(file, "the configuration of a vision tower"), str(file))


def tower_source(folder: Path, log: Log) -> Source:
    """Return the tower's tensors in a CLIP or SigLIP folder."""
    return Source(open_weights(folder, log), vision_layout())


def tower_folder(tower: str, asked: str, source: Path, log: Log) -> Path:
    """Return the folder of the tower that was asked for, or that the configuration names."""
    if not tower:
        raise ArtifactError(
            f"{source} holds no vision tower, and its config.json names none.",
            f"Give one: hydra-mobile import {source} --vision {CLIP_L_336_ID} --out BASE",
        )
    try:
        return checkpoint_folder(tower, "the vision tower", log)
    except ArtifactError as error:
        if asked:
            raise
        raise ArtifactError(
            f"{source} holds no vision tower, and the one that its config.json names is not here: "
            f"{tower}.",
            f"Give its folder or hub id: hydra-mobile import {source} --vision CLIP --out BASE",
        ) from error
