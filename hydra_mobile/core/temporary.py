"""Temporary siblings of files and folders that are being written, and what dead writers left.

    .NAME.<host>-<pid>-<random>.new     being filled
    .NAME.<host>-<pid>-<random>.old     what was at NAME, while the new one takes its place

    .NAME.writing.lock                   held by who writes NAME
    .NAME.making.lock                    held by who makes NAME of the cache

Only names of exactly these forms are ever looked at. One is left over when nobody holds its lock
and its process is gone; the next writer in the folder removes it, or brings it back where it is the
older NAME and nothing took its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hydra_mobile.core.locks import is_running, try_lock

_LOCKS = (".writing.lock", ".making.lock")
_FORM = re.compile(r"\.(.+)\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}\.(new|old)", re.DOTALL)
# Without a lock to go by: of another host, or of a process whose id another one may have now.
_FORGOTTEN_SECONDS = 24 * 3600.0
# A name, with what we add, must stay below the 255 bytes of a file system.
_LONGEST_NAME = 200
_ours: set[Path] = set()
_swept: set[Path] = set()


def sibling(path: Path, kind: str = "new", folder: Path | None = None) -> Path:
    """Return an unused temporary name for `path`, in its folder or in `folder`."""
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
    form = f".{name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.{kind}"
    return (path.parent if folder is None else folder) / form


@contextlib.contextmanager
def held(temporary: Path) -> Iterator[None]:
    """Mark an existing temporary file or folder as alive during the block."""
    _ours.add(temporary)
    descriptor = None
    # Folders cannot be opened on Windows; there the process's id has to do.
    with contextlib.suppress(OSError):
        descriptor = os.open(temporary, os.O_RDONLY)
        try_lock(descriptor)
    try:
        yield
    finally:
        _ours.discard(temporary)
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def scratch(folder: Path, name: str, mode: int = 0o777) -> Iterator[Path]:
    """Yield an empty folder in `folder`, removed at the end; that of a dead process is swept.

    Args:
        folder: where it lies; must exist.
        name: of what is worked on.
        mode: its permissions, of which the umask takes.
    """
    sweep(folder)
    made = sibling(folder / name)
    made.mkdir(mode)
    try:
        with held(made):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def working_folder(name: str) -> Iterator[Path]:
    """Yield an empty folder for intermediate files, readable by its owner alone.

    It is in the system's folder for such, and removed at the end. What a killed process left there
    is swept by the next one.

    Args:
        name: of what is worked on.
    """
    with scratch(Path(tempfile.gettempdir()), f"hydra-mobile-{name}", mode=0o700) as made:
        yield made


def lock_of(path: Path, folder: Path | None = None) -> Path:
    """Return the lock of whoever writes `path`, in its folder or in `folder`."""
    return (path.parent if folder is None else folder) / f".{path.name}{_LOCKS[0]}"


def making_lock_of(path: Path) -> Path:
    """Return the lock of whoever makes `path` of the cache, held around `lock_of`'s."""
    return path.parent / f".{path.name}{_LOCKS[1]}"


def is_temporary(name: str) -> bool:
    """Return whether a file name is one of ours that is being written or was left over."""
    return _is_lock(name) or _FORM.fullmatch(name) is not None


def sweep(folder: Path, *, again: bool = False) -> None:
    """Remove what dead writers left in `folder`; bring back what they had moved aside.

    Args:
        folder: is looked through once for each process: caches hold many files.
        again: look through it even so.
    """
    key = folder.absolute()
    if key in _swept and not again:
        return
    _swept.add(key)
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return
    for name in filter(_is_lock, names):
        _remove_free(folder / name)
    for name, match in ((n, m) for n in names if (m := _FORM.fullmatch(n))):
        left = folder / name
        if left in _ours or not _is_dead(left, match.group(2), int(match.group(3))):
            continue
        target = folder / match.group(1)
        # A folder that cannot be written is none that anything can be swept from.
        with contextlib.suppress(OSError):
            if match.group(4) == "old" and not os.path.lexists(target):
                left.rename(target)
            elif left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()


def _is_lock(name: str) -> bool:
    return name.startswith(".") and name.endswith(_LOCKS)


def _remove_free(lock: Path) -> None:
    """Remove a lock that nobody holds; who opened it meanwhile looks whether it is still there."""
    with contextlib.suppress(OSError):
        descriptor = os.open(lock, os.O_RDWR)
        try:
            if try_lock(descriptor):
                lock.unlink()
        finally:
            os.close(descriptor)


def _is_dead(path: Path, host: str, pid: int) -> bool:
    try:
        age = time.time() - path.lstat().st_mtime
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if not try_lock(descriptor):
            return False
    finally:
        os.close(descriptor)
    # A process of ours that had this id has ended; we know our own.
    if host == _host() and (pid == os.getpid() or not is_running(pid)):
        return True
    return age > _FORGOTTEN_SECONDS


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
