"""Files that are whole or absent: atomic writes, hashes, free space.

Everything the project writes goes through `write_atomically` or `folders.folder_atomically`: to a
temporary sibling first, renamed when complete, so that a killed process leaves nothing half-written
that loads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra_mobile.core.boundaries import reason_of, shown, writing
from hydra_mobile.core.errors import ArtifactError, DiskError
from hydra_mobile.core.json_text import dumps, loads
from hydra_mobile.core.temporary import held, sibling, sweep

# Of files that are read whole: far above any report, below what fills the memory.
_MOST_BYTES = 1 << 30


def cache_home() -> Path:
    """Return the cache folder: `HYDRA_MOBILE_HOME`, or `~/.cache/hydra-mobile`."""
    named = os.environ.get("HYDRA_MOBILE_HOME")
    return tilde(Path(named)) if named else Path.home() / ".cache" / "hydra-mobile"


def tilde(path: Path) -> Path:
    """Return `path` with a leading `~` or `~user` replaced by that home folder.

    Shells do it for words of a command; env files, YAML and `key=~/x` arrive as they were written.
    A user who does not exist stays a name.
    """
    if not path.parts or not path.parts[0].startswith("~"):
        return path
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def require_free_space(path: Path, needed_bytes: int, what: str) -> None:
    """Raise unless the disk that holds `path` has `needed_bytes` free.

    Raises:
        DiskError: names the folder, what is free and what is needed.
    """
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise DiskError(
            f"No space for {what}: {existing} has {free / 1e6:.0f} MB free, "
            f"{needed_bytes / 1e6:.0f} MB are needed.",
            "Free some space, or choose another folder (HYDRA_MOBILE_HOME moves the cache).",
        )


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk, where the system knows such a thing."""
    # Windows opens no folders, and some network disks sync none.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def write_atomically(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; rename it to `path` on success.

    It has the permissions that the umask gives.

    Args:
        path: the file.
        synced: have the contents on the disk before the name is. Off for thousands of small files
            that are compared with what they were made of when they are used.

    Raises:
        DiskError: the disk filled up.
        HydraError: the place cannot be written.
    """
    # A link stays one: what it points to is written.
    path = Path(os.path.realpath(tilde(path)))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        temporary = sibling(path)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        mode = stat.S_IMODE(temporary.stat().st_mode)
        try:
            with held(temporary), writing(path, temporary):
                yield temporary
                # Some libraries put a file of their own there, private to its owner.
                temporary.chmod(mode)
                if synced:
                    with temporary.open("rb") as handle:
                        os.fsync(handle.fileno())
                temporary.replace(path)
                if synced:
                    sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(dumps(value, indent=2, ensure_ascii=False) + "\n")


def unwrapped(value: Any) -> Any:
    """Return the result inside a document that a command printed with `--json`.

    What is no such document is returned as it is: earlier versions wrote results bare.
    """
    document = isinstance(value, dict) and str(value.get("schema", "")).startswith("hydra-mobile/")
    return value.get("result") if document else value


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file of ours.

    Raises:
        ArtifactError: the file is missing, cannot be read, is no JSON, or has a key twice; `what`
            says what it should have been.
    """
    return parse_json(read_bytes(path, what), path, what)


def json_if_sound(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of ours that can be done without; {} where it is damaged.

    For the memory in the cache, and for looking at what is to be replaced: whoever needs the file
    takes `read_json`, which says what is wrong.
    """
    try:
        value = read_json(path, "a file of ours")
    except ArtifactError:
        return {}
    return value if isinstance(value, dict) else {}


def read_foreign_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object that another project's programs read too, as they do.

    Of a key that is there twice the last one counts.

    Raises:
        ArtifactError: the file is missing, cannot be read, is no JSON, or holds no object.
    """
    value = _parsed(json.loads, read_bytes(path, what), path, what)
    if not isinstance(value, dict):
        raise ArtifactError(
            f"{path} holds {shown(value)}: expected {what}, keys and values.",
            "The file was altered; take it again from where the folder came from.",
            where=str(path),
            found=shown(value),
            expected=what,
        )
    return value


def read_bytes(path: Path, what: str) -> bytes:
    """Return the bytes of a file of ours.

    Raises:
        ArtifactError: the file is missing or cannot be read.
    """
    try:
        found = path.stat()
        # A pipe waits for ever; one of the shell's own, `<(...)`, is written to.
        if not stat.S_ISREG(found.st_mode) and not path.is_relative_to("/dev"):
            raise ArtifactError(
                f"{path} is no file: expected {what}.",
                "Name a file.",
                where=str(path),
                found="a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device",
                expected=what,
            )
        if found.st_size > _MOST_BYTES:
            raise ArtifactError(
                f"{path} has {found.st_size / 1e9:.1f} GB: expected {what}.",
                "The file was altered; make it again.",
                where=str(path),
                found=f"{found.st_size:,} bytes",
                expected=what,
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} is missing: expected {what}.", where=str(path), expected=what
        ) from None
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read ({reason_of(error)}): expected {what}.",
            where=str(path),
            found=reason_of(error),
            expected=what,
        ) from error


def parse_json(data: bytes, path: Path, what: str) -> Any:
    """Return what the bytes of a JSON file say; `path` names it in messages.

    Raises:
        ArtifactError: they are no JSON, or have a key twice.
    """
    return _parsed(loads, data, path, what)


def _parsed(parse: Callable[[str], Any], data: bytes, path: Path, what: str) -> Any:
    try:
        return parse(data.decode("utf-8"))
    # Not only JSONDecodeError: bad UTF-8, numbers of more than 4300 digits, deep nesting.
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path} is not readable JSON ({reason_of(error)}): expected {what}.",
            "The file was altered or cut short; make it again.",
            where=str(path),
            found=reason_of(error),
            expected=what,
        ) from error
