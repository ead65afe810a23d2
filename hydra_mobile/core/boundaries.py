"""What the operating system and libraries raise, as errors of ours.

`writing` is around every write, `reading` around every parse of a file that a user may have
altered. Both let our own errors pass.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hydra_mobile.core.errors import ArtifactError, DiskError, HydraError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# What a user can do something about; others are defects of ours.
_REFUSED = {
    errno.EROFS: "The disk is read-only: choose another place.",
    errno.EACCES: "Change its permissions, or choose another place.",
    errno.EPERM: "Change its permissions, or choose another place.",
    errno.EBUSY: "It is in use, or another disk is mounted there: choose another place.",
    errno.ENOTDIR: "A part of this path is a file where a folder is needed.",
    errno.EEXIST: "A part of this path is a file where a folder is needed.",
    errno.EISDIR: "A folder stands where a file is needed.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "Its symbolic links lead back to themselves.",
    errno.EIO: "The disk has a fault.",
    errno.EFBIG: "The file system takes no file of this size.",
    errno.ENOTEMPTY: "Another process wrote there; run the same command again.",
    errno.ESTALE: "The network disk went away; run the same command again.",
    errno.EINVAL: "The file system takes no such name.",
}
_LONGEST = 60

# What parsers raise on bytes that they did not expect. OSError is in it: PIL raises it.
FOREIGN: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    EOFError,
    StopIteration,
    NotImplementedError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    ElementTree.ParseError,
)


def shown(value: Any) -> str:
    """Return a value found in a file as messages show it: on one line, at most 60 characters."""
    if isinstance(value, dict | list | tuple | set):
        # The representation of an alias bomb never ends.
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, str | bytes):
        text = repr(value[:_LONGEST])
    elif isinstance(value, int) and value.bit_length() > 4 * _LONGEST:
        return f"a number of {value.bit_length()} bits"
    else:
        text = repr(value)
    # Half a surrogate pair cannot be printed.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


@contextlib.contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn what the system refuses inside the block into an error that names `path`.

    Args:
        path: the file or folder that the user knows.
        temporary: where it is written first: a file below it is `path`'s.

    Raises:
        DiskError: no space is left on the disk, whatever a library called it.
        HydraError: the place is read-only, in use, no folder, without permission, ...
    """
    try:
        yield
    except HydraError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise full_disk(path) from error
        refused = cannot_write(error, path, temporary)
        if refused is None:
            raise
        raise refused from error
    except Exception as error:
        # safetensors, torch and other native writers have exceptions of their own.
        if (number := _errno_in(error)) in _FULL or _failed_on_full_disk(error, path):
            raise full_disk(path) from error
        if number in _REFUSED:
            raise cannot_write(OSError(number, os.strerror(number)), path, None) or error from error
        raise


def full_disk(path: Path) -> DiskError:
    """Return the error for a disk that filled up while `path` was written."""
    return DiskError(
        f"The disk is full: no space left for {path}; nothing half-written was kept.",
        "Free some space and run the same command again.",
        where=str(path),
    )


def cannot_write(error: OSError, path: Path, temporary: Path | None) -> HydraError | None:
    """Return the error for a file that the system does not let us write, None for a defect."""
    file = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
    if error.errno == errno.ENOENT and file in path.parents:
        # Any other file that is not there is none that we were to write.
        return _refused(file, error, "No folder can be made there: choose another place.")
    if error.errno not in _REFUSED:
        return None
    if temporary is not None and temporary in (file, *file.parents):
        file = path
    return _refused(file, error, _REFUSED[error.errno])


def _refused(file: Path, error: OSError, fix: str) -> HydraError:
    reason = (error.strerror or str(error)).lower()
    return HydraError(
        f"{file} cannot be written: {reason}.",
        fix,
        where=str(file),
        found=reason,
        kind="disk",
    )


def _errno_in(error: Exception) -> int:
    found = re.search(r"\(os error (\d+)\)", str(error))
    if found:
        return int(found.group(1))
    return errno.ENOSPC if "no space left on device" in str(error).lower() else 0


def _failed_on_full_disk(error: Exception, path: Path) -> bool:
    text = str(error)
    if not any(part in text for part in ("PytorchStreamWriter", "unexpected pos", "write failed")):
        return False
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free < 1_000_000


@contextlib.contextmanager
def reading(
    path: Path | str,
    expected: str,
    fix: str = "The file was altered or cut short; make it again.",
    *,
    error_class: type[HydraError] = ArtifactError,
    also: Sequence[type[Exception]] = (),
) -> Iterator[None]:
    """Turn what a library raises over the contents of a file into an error that names the file.

    Args:
        path: the file.
        expected: what it should have been, for example "the manifest of a bundle".
        fix: how to mend it.
        error_class: of the error that is raised.
        also: exceptions of the library that derive from no usual one (yaml, safetensors, ijson).
    """
    try:
        yield
    except (HydraError, MemoryError):
        raise
    except (*FOREIGN, *also) as error:
        raise error_class(
            f"{path} cannot be read: expected {expected}, found {reason_of(error)}.",
            _fix_of(error, fix),
            where=str(path),
            found=reason_of(error),
            expected=expected,
        ) from error


def reason_of(error: BaseException) -> str:
    """Return in one short line what a library's exception says about a file."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, UnicodeDecodeError):
        return f"byte 0x{error.object[error.start]:02x} at {error.start} that is no UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return f"half a surrogate pair at character {error.start}"
    if isinstance(error, RecursionError):
        return "values nested too deep"
    if isinstance(error, KeyError):
        return f"no key {shown(error.args[0] if error.args else '')}"
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 200 else text[:197] + "..."


def first_line_of(error: BaseException) -> str:
    """Return the first line of what an exception says, or its class where it says nothing.

    What comes from the network explains itself in more lines than a message has room for.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _fix_of(error: Exception, fix: str) -> str:
    if isinstance(error, PermissionError):
        return "Change its permissions."
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return "Name a file, not a folder."
    return fix
