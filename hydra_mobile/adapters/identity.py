"""Which base an adapter belongs to: a name and a hash over the base's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_mobile.core.files import read_json
from hydra_mobile.core.model_folder import (
    IMPORT_FILE,
    MERGE_FILE,
    hub_name_of,
    read_config,
    revision_of,
    weights_sha256,
)


@dataclass(frozen=True)
class BaseIdentity:
    """Name and hash of a base model.

    Attributes:
        name: the base's name or hub id, for people.
        sha256: hash over its weights, for comparison.
        revision: commit of the hub that it is of, to fetch the same again; "" where none is known.
            What is compared are the weights.
    """

    name: str
    sha256: str
    revision: str = field(default="", compare=False)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> BaseIdentity:
        """Return what a record holds of a base; earlier ones have no revision."""
        return cls(record["name"], record["sha256"], str(record.get("revision", "")))

    def short(self) -> str:
        """Return the start of the hash, and the commit where one is known."""
        at = f", commit {self.revision[:12]} of the hub" if self.revision else ""
        return f"{self.sha256[:12]}{at}"

    def to_dict(self) -> dict[str, str]:
        """Return what records hold of it; no revision where none is known."""
        known = {"revision": self.revision} if self.revision else {}
        return {"name": self.name, "sha256": self.sha256, **known}


def base_identity(folder: Path, *, again: bool = False) -> BaseIdentity:
    """Return the identity of a base folder: what its weights are, whatever its config.json says.

    One weight file is hashed as it is, several as the hash of their hashes in the order of their
    names. `base_sha256` of config.json is a note of where the weights came from: whoever edits
    them keeps it. A merged model is a base of its own: training may go on from it.

    Args:
        folder: of the base.
        again: hash afresh, whatever is remembered.

    Raises:
        ArtifactError: no config.json, or no safetensors weights.
    """
    config = read_config(folder / "config.json", "the configuration of a base model")
    called = hub_name_of(folder) or folder.name
    name = str(config.get("base") or config.get("_name_or_path") or called)
    if (folder / MERGE_FILE).is_file():
        name += "-merged"
    revision = revision_of(folder)
    if (folder / IMPORT_FILE).is_file():
        record = read_json(folder / IMPORT_FILE, "the record of an import")
        revision = str(record.get("revision", "")) if isinstance(record, dict) else ""
    return BaseIdentity(name, weights_sha256(folder, again=again), revision)
