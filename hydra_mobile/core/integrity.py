"""Files compared with the sha256 that a record gives them, at a bounded cost.

A large file is hashed once; its hash is remembered in HYDRA_MOBILE_HOME with the size, times and
inode that it had, and taken from there as long as these are unchanged. What is decided once and for
long (a merge, an export, a verification) asks for a fresh hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import cache_home, json_if_sound, read_json, sha256_of, write_json
from hydra_mobile.core.json_text import dumps

#: Key of a record that holds the digest of all its other keys.
SEAL = "record_sha256"
#: Key of a line of JSON that holds the digest of its other keys.
CHECK = "check"
#: Smaller files are hashed at every use.
_REMEMBERED_FROM = 1 << 20
#: A file that changed so recently can change again without another time stamp.
_SETTLED_SECONDS = 2.0


def remembered_sha256(path: Path, *, again: bool = False) -> str:
    """Return the sha256 of a file, from memory where the file has not changed since it was hashed.

    The memory is one small file for each large file, so that processes do not wait for each other.
    A memory that cannot be read or written is done without.

    Args:
        path: of the file.
        again: hash afresh, whatever is remembered, and remember that.
    """
    found = path.stat()
    if found.st_size < _REMEMBERED_FROM:
        return sha256_of(path)
    facts = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    place = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    memory = cache_home() / "hashes" / f"{place}.json"
    known = {} if again else json_if_sound(memory)
    if known.get("facts") == facts and seal_of(known) == known.get(SEAL):
        return str(known.get("sha256"))
    settled = time.time() - max(found.st_mtime, found.st_ctime) > _SETTLED_SECONDS
    digest = sha256_of(path)
    if settled:
        with contextlib.suppress(OSError, ValueError, HydraError):
            write_json(memory, sealed({"file": str(path), "facts": facts, "sha256": digest}))
    return digest


def require_recorded(
    folder: Path, files: Mapping[str, Any], record: str, fix: str, *, again: bool = False
) -> None:
    """Compare files of a folder with the sha256 that its record gives them.

    Args:
        folder: holds the files.
        files: name -> sha256 in hexadecimal.
        record: name of the record, for the message.
        fix: how to get a sound folder.
        again: hash afresh, whatever is remembered.

    Raises:
        ArtifactError: a name leaves the folder, or a file is missing or differs.
    """
    for name, expected in files.items():
        require_inside(name, record)
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing; {record} names it.", fix)
        found = remembered_sha256(path, again=again)
        if found != expected:
            raise ArtifactError(
                f"{path} was altered: it has sha256 {found}, {record} says {expected}.", fix
            )


def require_inside(name: object, record: str) -> None:
    """Raise unless `name` names a file below its record's own folder, by any system's rules."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ArtifactError(f"{record} names the file {name!r}, expected the name of a file.")
    parts = PureWindowsPath(name)
    if parts.drive or parts.root or ".." in parts.parts or PurePosixPath(name).is_absolute():
        raise ArtifactError(
            f"{record} names the file `{name}`, which lies outside of its folder.",
            "The record was altered; take the folder again from where it was made.",
        )


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of files of a folder, by name, as a record holds them."""
    return {name: sha256_of(folder / name) for name in sorted(names)}


def plain_files(folder: Path) -> list[str]:
    """Return the names of the files directly in a folder that a record vouches for.

    Left out are hidden files, and the card, which no code reads and people edit.
    """
    files = (path.name for path in folder.iterdir() if path.is_file())
    return sorted(name for name in files if not name.startswith(".") and name != "README.md")


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with the digest of its content, which `read_sealed` compares."""
    return {**record, SEAL: seal_of(record)}


def seal_of(record: Mapping[str, Any]) -> str:
    """Return the digest of all keys of a record but `SEAL`."""
    content = {key: value for key, value in record.items() if key != SEAL}
    return hashlib.sha256(dumps(content, sort_keys=True).encode()).hexdigest()


def read_sealed(path: Path, what: str, fix: str) -> dict[str, Any]:
    """Read a JSON record and compare its digest; one that was written without is taken as it is.

    Raises:
        ArtifactError: the record is missing, is no JSON object, or was altered.
    """
    record = read_json(path, what)
    if not isinstance(record, dict):
        raise ArtifactError(f"{path} holds a {type(record).__name__}: expected {what}.", fix)
    if SEAL in record and seal_of(record) != record[SEAL]:
        raise ArtifactError(f"{path} was altered: its content has another `{SEAL}`.", fix)
    return record


def checked_line(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object of a line of JSON with the digest that `is_sound_line` compares."""
    return {**value, CHECK: _check_of(value)}


def is_sound_line(value: Mapping[str, Any]) -> bool:
    """Whether a line holds what was written; one that was written without a digest counts."""
    return CHECK not in value or value[CHECK] == _check_of(value)


def _check_of(value: Mapping[str, Any]) -> str:
    content = {key: item for key, item in value.items() if key != CHECK}
    text = dumps(content, sort_keys=True).encode()
    # Against chance, not against people: eight digits keep a line short.
    return hashlib.sha256(text).hexdigest()[:8]
