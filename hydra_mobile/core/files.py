"""Files that are whole or absent: atomic writes, hashes, free space.

Everything the project writes goes through `write_atomically` or `folder_atomically`: to a temporary
sibling first, renamed when complete, so that a killed process leaves nothing half-written that
loads.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra_mobile.core.errors import ArtifactError, DiskError


def cache_home() -> Path:
    """Return the cache folder: `HYDRA_MOBILE_HOME`, or `~/.cache/hydra-mobile`."""
    return Path(os.environ.get("HYDRA_MOBILE_HOME") or Path.home() / ".cache" / "hydra-mobile")


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


@contextlib.contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turn "no space left on device" inside the block into a `DiskError` that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskError(
            f"The disk filled up while writing {path}; nothing half-written was kept.",
            "Free some space and run the same command again.",
        ) from error


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; rename it to `path` on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        with explain_full_disk(path):
            yield temporary
            # mkstemp makes the file private to its owner; give it the usual permissions.
            temporary.chmod(0o644)
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder to fill; put it in the place of `path` on success.

    An older folder at `path` stays until the new one is complete. The name must stay free of
    other users: two processes must not write the same `path` at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with explain_full_disk(path):
            yield temporary
            temporary.chmod(0o755)
            if path.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
                path.replace(old / "was")
                temporary.replace(path)
                shutil.rmtree(old)
            else:
                temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def unwrapped(value: Any) -> Any:
    """Return the result inside a document that a command printed with `--json`.

    What is no such document is returned as it is: earlier versions wrote results bare.
    """
    document = isinstance(value, dict) and str(value.get("schema", "")).startswith("hydra-mobile/")
    return value.get("result") if document else value


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file.

    Raises:
        ArtifactError: the file is missing or is no JSON; `what` says what it should have been.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing: expected {what}.") from None
    except json.JSONDecodeError as error:
        raise ArtifactError(
            f"{path} is not readable JSON ({error}): expected {what}.",
            "The file was altered or cut short; make it again.",
        ) from error
