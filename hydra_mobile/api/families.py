"""Kinds of models that a base may be: listed, and a checkpoint held against transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hydra_export.family_check import Check, FamilyCheck
from hydra_export.family_check import check_family as check_folder
from hydra_mobile.core.progress import Log, silent
from hydra_mobile.models.families import FAMILIES, family_named

__all__ = ["Check", "FamilyCheck", "FamilyInfo", "check_family", "list_families"]


@dataclass(frozen=True)
class FamilyInfo:
    """A family of models.

    Attributes:
        name: key in `FAMILIES`.
        title: what people call it.
        model_types: `model_type` of the configurations that are of it.
        tested: what it has been run on.
    """

    name: str
    title: str
    model_types: tuple[str, ...]
    tested: str


def list_families() -> list[FamilyInfo]:
    """Return every family that a base may be of."""
    named = {name: family_named(name) for name in FAMILIES}
    return [FamilyInfo(n, f.title, f.model_types, f.tested) for n, f in named.items()]


def check_family(folder: str | Path, log: Log = silent) -> FamilyCheck:
    """Compare a checkpoint, as its family reads it, with transformers' own processor and forward.

    Args:
        folder: of the checkpoint; without weights random ones are taken.
        log: gets a line before what takes long.

    Raises:
        ArtifactError: no config.json, or no family knows the class.
    """
    return check_folder(Path(folder), log)
