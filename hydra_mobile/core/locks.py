"""Locks on files: one process at a time, and whoever waits is told who holds it.

A lock is of the operating system, not the presence of a file: it ends with its process, whatever
ended that. Where the file system knows no locks, everybody gets one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.json_text import dumps

_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)

if sys.platform == "win32":
    import msvcrt

    # Far behind the text of the holder, which others read while the byte is locked.
    _BYTE = 1 << 30

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def try_lock(descriptor: int) -> bool:
    """Lock an open file without waiting; return whether nobody else holds it.

    The lock lasts until the last descriptor of this opening is closed, inherited ones included.
    """
    try:
        _take(descriptor)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        if error.errno not in _UNSUPPORTED:
            raise
    return True


@contextlib.contextmanager
def exclusive(
    lock: Path, what: str, *, wait: float | None = 0.0, remove: bool = True
) -> Iterator[int]:
    """Hold the lock file `lock` during the block; yield its file descriptor.

    Args:
        lock: is made, and says who holds it. Its folder must exist.
        what: what it protects, for the message.
        wait: seconds to wait for another holder; None: as long as it takes.
        remove: remove the file at the end; False where child processes inherit the descriptor and
            may outlive the block.

    Raises:
        HydraError: another process holds it; names its id, its host and since when. Or the file is
            a link: what it points to would be overwritten.
        OSError: the lock file cannot be made.
    """
    if lock.is_symlink():
        raise HydraError(
            f"{lock} is a link and no lock: what it points to is not written.",
            "Remove the link, or choose another folder.",
            where=str(lock),
        )
    until = None if wait is None else time.monotonic() + wait
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # Whoever held it may have removed the file that was just opened.
            if try_lock(descriptor) and _is_still_there(lock, descriptor):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if until is not None and time.monotonic() >= until:
            raise HydraError(
                f"{what} is in use by {_holder(lock)}.",
                "Wait until it has ended, end it, or choose another folder.",
                where=str(lock.parent),
            )
        time.sleep(0.05)
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, _signature())
        yield descriptor
    finally:
        # Windows removes no open file; an empty one does no harm.
        if remove:
            with contextlib.suppress(OSError):
                lock.unlink()
        os.close(descriptor)


def _is_still_there(lock: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(lock), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _signature() -> bytes:
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    text = dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    return text.encode() + b"\n"


def _holder(lock: Path) -> str:
    try:
        holder = json.loads(lock.read_bytes())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def is_running(pid: int) -> bool:
    """Return whether a process of this host has the id `pid`."""
    if sys.platform == "win32":
        # os.kill(pid, 0) would end it there.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
