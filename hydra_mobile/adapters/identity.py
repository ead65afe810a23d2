"""Which base an adapter belongs to: a name and a hash over the base's weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_json, sha256_of

#: Marks a merged model: its weights are no longer those of the base that its config.json names.
MERGE_FILE = "merge.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class BaseIdentity:
    """Name and hash of a base model.

    Attributes:
        name: the base's name or hub id, for people.
        sha256: hash over its weights, for comparison.
    """

    name: str
    sha256: str


def base_identity(folder: Path) -> BaseIdentity:
    """Return the identity of a base folder.

    The hash is `base_sha256` of its config.json. A folder without that key is hashed: one weight
    file as it is, several as the hash of their hashes in the order of their names. So is a merged
    model, which is a base of its own: training may go on from it.

    Raises:
        ArtifactError: no config.json, or no safetensors weights.
    """
    config = read_json(folder / "config.json", "the configuration of a base model")
    name = str(config.get("base") or config.get("_name_or_path") or folder.name)
    merged = (folder / MERGE_FILE).is_file()
    recorded = config.get("base_sha256")
    if merged:
        name += "-merged"
    elif recorded:
        return BaseIdentity(name, str(recorded))
    hashes = [sha256_of(path) for path in weight_files(folder)]
    if len(hashes) == 1:
        return BaseIdentity(name, hashes[0])
    return BaseIdentity(name, hashlib.sha256("".join(hashes).encode()).hexdigest())


def weight_files(folder: Path) -> list[Path]:
    """Return the folder's safetensors weight files, sorted by name.

    Raises:
        ArtifactError: there are none, or the index names a file that is missing.
    """
    if (folder / INDEX).exists():
        index = read_json(folder / INDEX, "an index of weight files")
        files = [folder / name for name in sorted(set(index.get("weight_map", {}).values()))]
    else:
        files = [folder / SINGLE]
    for path in files:
        if not path.is_file():
            raise ArtifactError(
                f"{path} is missing: expected the weights of a model.",
                "Only safetensors folders are read; fetch or convert the base again.",
            )
    return files
