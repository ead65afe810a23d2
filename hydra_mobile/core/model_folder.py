"""The files of a model folder: its weights in one file or several, and what a merge vouches for."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from hydra_mobile.core.boundaries import reading, shown
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_foreign_json, read_json
from hydra_mobile.core.folders import Mark, recorded
from hydra_mobile.core.integrity import remembered_sha256, require_inside, require_recorded

#: Marks a merged model: its weights are no longer those of the base that its config.json names.
MERGE_FILE = "merge.json"
#: What an imported base remembers of where it came from.
IMPORT_FILE = "import.json"
#: What an older merged folder is recognized by before it is replaced.
MERGED = Mark(
    MERGE_FILE, "a merged model", contents=recorded(MERGE_FILE, "config.json", "README.md")
)
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# What is made one after the other, by its key: a configuration of transformers fills lists of this
# length before anything is built.
_REPEATED = re.compile(
    r"(^|_)(layers?|depths?|blocks?|stages?|labels?|experts?|groups?|heads?|seq|image_tokens)(_|$)"
    r"|tokens_per_image"
)
_MOST_REPEATED = 1_000_000
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


def read_config(file: Path, what: str) -> dict[str, Any]:
    """Return what a config.json of transformers says.

    Raises:
        ArtifactError: it is missing, no JSON object, or asks for more of a part than memory holds.
    """
    stored = read_foreign_json(file, what)
    _require_countable(stored, file, "")
    return stored


def _require_countable(value: Any, file: Path, key: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _require_countable(item, file, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            _require_countable(item, file, key)
    elif (
        isinstance(value, int | float)
        and _REPEATED.search(key.rpartition(".")[2])
        and not value <= _MOST_REPEATED  # NaN is no count either
    ):
        raise ArtifactError(
            f"{file}: {key} is {shown(value)}, expected at most {_MOST_REPEATED:,}.",
            "The file was altered: take it again from where the folder came from.",
            where=f"{file}, {key}",
            found=shown(value),
            expected=f"at most {_MOST_REPEATED:,}",
        )


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
