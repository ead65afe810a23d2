"""A checkpoint by folder or by hub id: downloaded once, and only what is read here."""

from __future__ import annotations

import contextlib
import re
from fnmatch import fnmatch
from pathlib import Path

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.model_folder import revision_of
from hydra_mobile.core.progress import Log

#: "owner/name", or "owner/name@revision".
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_SMALL = ("*.json", "*.jinja", "tokenizer.model")
_TENSORS = "*.safetensors"
_PICKLED = "pytorch_model*.bin"


def is_hub_id(source: str) -> bool:
    """Whether a name can be that of a repository on the hub, and is none of a folder here."""
    path = Path(source)
    # A mistyped path in a folder that exists is no repository.
    return bool(_HUB_ID.fullmatch(source)) and not path.exists() and not path.parent.exists()


def at_revision(hub_id: str, revision: str) -> str:
    """Return a hub id with a commit in place of the branch that it may name; "" keeps it."""
    return f"{hub_id.partition('@')[0]}@{revision}" if revision else hub_id


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
    named = _HUB_ID.fullmatch(source)
    if folder.exists() or named is None:
        raise ArtifactError(
            f"{source} is no folder with a config.json: expected {what}.",
            "Give the folder of a checkpoint, or its hub id (owner/name).",
        )
    return _download(named.group(1), named.group(2), what, log)


def _download(hub_id: str, revision: str | None, what: str, log: Log) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    # The library that the hub's client is built on; its name differs between versions.
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    log(f"Fetching {hub_id} from the hub ({what}; once)")
    patterns = [*_SMALL, _TENSORS, _PICKLED]
    # Without a connection, what was fetched before is still found below.
    with contextlib.suppress(OSError, httpx.HTTPError):
        files = HfApi().list_repo_files(hub_id, revision=revision)
        # Many repositories hold the same weights in both formats.
        has_tensors = any(fnmatch(file, _TENSORS) for file in files)
        patterns = [*_SMALL, _TENSORS if has_tensors else _PICKLED]
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError, httpx.HTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HydraError(
            f"{hub_id} could not be fetched as {what}: {reason}",
            "Check the name and the network. A folder with its files works too: "
            "base=/path/of/the/checkpoint, or the folder in place of the hub id.",
        ) from error
    if found := revision_of(folder):
        log(f"{hub_id} is at {found}; `{hub_id}@{found}` names the same again")
    return folder
