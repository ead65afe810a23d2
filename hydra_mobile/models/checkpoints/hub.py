"""A checkpoint by folder or by hub id: downloaded once, and only what is read here."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from hydra_mobile.core.boundaries import first_line_of
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.hub_id import HUB_ID
from hydra_mobile.core.model_folder import revision_of
from hydra_mobile.core.progress import Log

_SMALL = ("*.json", "*.jinja", "tokenizer.model")
_TENSORS = "*.safetensors"
_PICKLED = "pytorch_model*.bin"
#: A repository with this file is a bundle, whose programs have any name.
_MANIFEST = "manifest.json"


def checkpoint_folder(source: str, what: str, log: Log) -> Path:
    """Return the folder of a checkpoint, downloading it where `source` is a hub id.

    Args:
        source: a folder, or "owner/name" on the hub, with "@revision" a certain one.
        what: it is wanted for, for messages, for example "the vision tower".
        log: receives a line before a download.

    Raises:
        ArtifactError: neither a folder with a config.json nor a hub id.
        HydraError: the hub cannot be reached, or has no such repository.
    """
    folder = Path(source)
    if (folder / "config.json").is_file():
        return folder
    if folder.exists() or HUB_ID.fullmatch(source) is None:
        raise ArtifactError(
            f"{source} is no folder with a config.json: expected {what}.",
            "Give the folder of a checkpoint, or its hub id (owner/name).",
        )
    return repository(source, what, log)


def repository(hub_id: str, what: str, log: Log) -> Path:
    """Return the folder of a repository of the hub, in the hub's own cache.

    A bundle is fetched whole; of all others, configurations, tokenizers and weights.

    Args:
        hub_id: "owner/name", with "@revision" a certain one.
        what: it is wanted for, for messages, for example "a base".
        log: receives a line before a download.

    Raises:
        HydraError: the hub cannot be reached, or has no such repository.
    """
    from huggingface_hub import HfApi, snapshot_download

    # The library that the hub's client is built on; its name differs between versions.
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    failures = (OSError, ValueError, httpx.HTTPError)
    name, _, wanted = hub_id.partition("@")
    revision = wanted or None
    log(f"Fetching {name} from the hub ({what}; once)")
    files: list[str] = []
    try:
        files = HfApi().list_repo_files(name, revision=revision)
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_patterns(files)))
    except failures as error:
        # Without a connection, what was fetched before is still there.
        try:
            folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
        except failures:
            raise _not_had(hub_id, what, error) from error
        # A download that was cut short leaves a folder that looks like the whole.
        if not all((folder / file).exists() for file in _wanted(files)):
            raise _not_had(hub_id, what, error) from error
        log(f"The hub gave nothing new: {first_line_of(error)}. What was fetched before is used")
    if found := revision_of(folder):
        log(f"{name} is at {found}; `{name}@{found}` names the same again")
    return folder


def _wanted(files: list[str]) -> list[str]:
    """Return those of a repository's files that are fetched."""
    patterns = _patterns(files)
    return [f for f in files if patterns is None or any(fnmatch(f, each) for each in patterns)]


def _patterns(files: list[str]) -> list[str] | None:
    """Return what is fetched of a repository; None: all of it."""
    if _MANIFEST in files:
        return None
    # Many repositories hold the same weights in both formats.
    has_tensors = any(fnmatch(file, _TENSORS) for file in files)
    return [*_SMALL, _TENSORS if has_tensors else _PICKLED]


def _not_had(hub_id: str, what: str, error: Exception) -> HydraError:
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        reason = "its owner grants access on request, at its page"
    elif isinstance(error, RepositoryNotFoundError):
        reason = "the hub has none of that name, or a private one"
    elif isinstance(error, RevisionNotFoundError):
        reason = "the repository has no such revision"
    else:
        reason = first_line_of(error)
    return HydraError(
        f"{hub_id} is no folder here, and could not be fetched from the hub as {what}: {reason}",
        "Check the path, or the name and the network; `hf auth login` opens private repositories. "
        "A folder with the files works too: base=/path/of/the/checkpoint, or the folder in place "
        "of the hub id.",
        where=hub_id,
    )
