"""What a function of the API may be given in place of a path, and where results go by default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol, runtime_checkable

from hydra_mobile.core.hub_id import is_hub_id
from hydra_mobile.core.model_folder import hub_name_of, title_of
from hydra_mobile.core.progress import Log, silent
from hydra_mobile.training.begun import is_begun

__all__ = [
    "HasPath",
    "ModelLike",
    "default_bundle_folder",
    "default_merged_folder",
    "is_begun",
    "is_bundle",
    "path_of",
]


@runtime_checkable
class HasPath(Protocol):
    """The result of an earlier step: a `Run`, `Bundle` or `Model`."""

    @property
    def path(self) -> Path:
        """Its folder."""


#: A folder, the name of a base, `BUNDLE#ADAPTER`, a hub id (`OWNER/NAME[@REVISION]`), or the result
#: of an earlier step.
ModelLike = str | os.PathLike[str] | HasPath


def path_of(given: ModelLike, log: Log = silent) -> str:
    """Return the path or name that something stands for; what is on the hub is fetched.

    Raises:
        HydraError: neither a folder here nor a repository of the hub, or the hub is out of reach.
    """
    text = str(given.path) if isinstance(given, HasPath) else os.fspath(given)
    if not is_hub_id(text.partition("#")[0]):
        return text
    from hydra_mobile.runtimes.hub_models import resolved

    return resolved(text, log)


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle, by its manifest; nothing heavy is imported to tell."""
    return (folder / "manifest.json").is_file()


def default_bundle_folder(model: Path, target: str, runtime: str, preset: str) -> Path:
    """Return where a bundle goes that nobody gave a place.

    Args:
        model: a run, a folder inside one, or any other model folder.
        target: of the bundle, as the three of them name its folder.
        runtime: of the bundle.
        preset: of the bundle.

    Returns:
        `RUN/bundles/TARGET-RUNTIME-PRESET`; for a model outside of a run `bundles` is in the
        working directory, and the name begins with the model's.
    """
    name = f"{target}-{runtime}-{preset}"
    for folder in (model, model.absolute().parent):
        if (folder / "run.json").is_file():
            return folder / "bundles" / name
    return Path("bundles") / f"{title_of(model)}-{name}"


def default_merged_folder(adapter: Path) -> Path:
    """Return where an adapter is merged that nobody gave a place: the hub's cache is not ours."""
    return Path(f"{title_of(adapter)}-merged") if hub_name_of(adapter) else adapter / "merged"


def require_free(run: Path, resume: bool) -> None:
    """Raise where somebody trains in a run folder; training then holds it itself.

    Raises:
        HydraError: another process trains there; names its id, host and start.
    """
    from hydra_mobile.training.begun import alone_in

    with alone_in(run, resume=resume):
        pass
