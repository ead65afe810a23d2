"""The files of a model folder: its weights in one file or several, and what a merge vouches for."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_foreign_json, read_json
from hydra_mobile.core.folders import Mark
from hydra_mobile.core.integrity import remembered_sha256, require_inside, require_recorded

#: Marks a merged model: its weights are no longer those of the base that its config.json names.
MERGE_FILE = "merge.json"
#: What an imported base remembers of where it came from.
IMPORT_FILE = "import.json"
#: What an older merged folder is recognized by before it is replaced.
MERGED = Mark(MERGE_FILE, "a merged model")
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def weights_sha256(folder: Path, *, again: bool = False) -> str:
    """Return the hash over the weights of a model folder, of one file or of several.

    Raises:
        ArtifactError: there are no safetensors weights.
    """
    hashes = [remembered_sha256(path, again=again) for path in weight_files(folder)]
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def revision_of(folder: Path) -> str:
    """Return the commit of the hub that a folder of its cache is of; "" for any other folder."""
    # Its layout: snapshots/<commit>.
    placed = folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name)
    return folder.name if placed else ""


def hub_name_of(folder: Path) -> str:
    """Return "owner/name" of the repository that a folder of the hub's cache is of; else ""."""
    # Its layout: models--<owner>--<name>/snapshots/<commit>.
    kind, _, name = folder.parent.parent.name.partition("--")
    return name.replace("--", "/", 1) if revision_of(folder) and kind == "models" else ""


def title_of(folder: Path) -> str:
    """Return what a model folder is called: its name, or that of its repository on the hub."""
    return hub_name_of(folder).rpartition("/")[2] or folder.absolute().name


def require_as_merged(folder: Path, *, again: bool = False) -> None:
    """Raise unless the files of a merged model are those that its merge wrote.

    Merges of earlier versions name their weights only. Any other folder is left alone.

    Args:
        folder: of a model.
        again: hash afresh, whatever is remembered.

    Raises:
        ArtifactError: a file is missing or differs.
    """
    if (folder / MERGE_FILE).is_file():
        record = read_json(folder / MERGE_FILE, "the record of a merge")
        files = record.get("files") if isinstance(record, dict) else None
        if not isinstance(files, dict):
            raise ArtifactError(
                f"{folder / MERGE_FILE}: key `files` is {files!r}, expected names and hashes.",
                "Merge the adapter again.",
            )
        fix = "Merge the adapter again."
        require_recorded(folder, files, MERGE_FILE, fix, again=again)


def weight_files(folder: Path) -> list[Path]:
    """Return the folder's safetensors weight files, sorted by name.

    Raises:
        ArtifactError: there are none, or the index names a file that is missing.
    """
    if (folder / INDEX).exists():
        index = read_foreign_json(folder / INDEX, "an index of weight files")
        with reading(folder / INDEX, "an index of weight files, with `weight_map`"):
            names = sorted(set(index["weight_map"].values()))
        for name in names:
            require_inside(name, str(folder / INDEX))
        files = [folder / name for name in names]
    else:
        files = [folder / SINGLE]
    for path in files:
        if not path.is_file():
            raise ArtifactError(
                f"{path} is missing: expected the weights of a model.",
                "Only safetensors folders are read; fetch or convert the base again.",
            )
    return files


def has_weights(folder: Path) -> bool:
    """Whether a folder holds safetensors weights, in one file or several."""
    return (folder / SINGLE).is_file() or (folder / INDEX).is_file()
