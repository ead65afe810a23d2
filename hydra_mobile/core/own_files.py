"""Single files that users name for a result: replaced only where what is there is ours.

A folder of ours holds a file by which it is recognized; a table, a data file or an app has no room
for such a mark. So we remember in HYDRA_MOBILE_HOME which files we wrote, with their size, time and
inode: one that was edited or put there since is not replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import cache_home, json_if_sound, tilde, write_atomically, write_json

# The last one that we wrote, and the one before: a kill may leave either at its place.
_KEPT = 2
# How every plot of ours begins, those of earlier versions too.
_PLOT = re.compile(
    rb'<svg xmlns="http://www\.w3\.org/2000/svg" viewBox="0 0 [\d.]+ [\d.]+" width="[\d.]+" '
    rb'height="[\d.]+" class="[^"]*"><style>'
)
# How every log begins: the command, then the version.
_LOG = re.compile(
    rb"\d\d:\d\d:\d\d hydra-mobile.*?\n\d\d:\d\d:\d\d hydra-mobile \S+, Python ", re.DOTALL
)


@dataclass(frozen=True)
class FileKind:
    """What a file is, and how one that we do not remember is recognized.

    Attributes:
        title: for the message, for example "a table".
        matches: whether a file is of this kind by what stands in it; default: it is not.
    """

    title: str
    matches: Callable[[Path], bool] = lambda path: False


def _is_plot(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return _PLOT.match(handle.read(1000)) is not None
    except OSError:
        return False


def _is_log(path: Path) -> bool:
    # It is written to at its end: a device such as /dev/stderr loses nothing.
    try:
        if path.is_char_device():
            return True
        with path.open("rb") as handle:
            return _LOG.match(handle.read(100_000)) is not None
    except OSError:
        return False


PLOT = FileKind("a plot", _is_plot)
LOG = FileKind("a log", _is_log)
TABLE = FileKind("a table of a benchmark")
DATA = FileKind("converted data")
APP = FileKind("an app that was built")


def require_replaceable_file(path: Path, kind: FileKind) -> None:
    """Raise unless `path` is free: nothing is there, an empty file, or one that we wrote.

    Raises:
        ArtifactError: a folder, or a file that is not ours or was changed since; it is not touched.
    """
    path = Path(os.path.realpath(tilde(path)))
    if not os.path.lexists(path):
        return
    if path.is_dir():
        found = "a folder"
    elif _is_empty(path) or _is_remembered(path) or kind.matches(path):
        return
    else:
        found = "a file that is not from here, or was changed since"
    raise ArtifactError(
        f"{path} exists and is not replaced: {found} is there.",
        "Choose another name for it, or move that away.",
        where=str(path),
        found=found,
        expected=f"nothing, or {kind.title} that was written here",
    )


@contextlib.contextmanager
def own_file_atomically(path: Path, kind: FileKind) -> Iterator[Path]:
    """Yield a temporary file to write; it takes the place of `path` on success.

    Raises:
        ArtifactError: what is at `path`, or came there meanwhile, is not ours.
        DiskError: the disk filled up.
        HydraError: the place cannot be written.
    """
    path = Path(os.path.realpath(tilde(path)))
    require_replaceable_file(path, kind)
    with write_atomically(path) as temporary:
        yield temporary
        require_replaceable_file(path, kind)
        # Before it is renamed: a kill in between leaves a file that is known.
        _remember(path, temporary)


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _memory_of(path: Path) -> Path:
    place = hashlib.sha256(os.fsencode(path)).hexdigest()
    return cache_home() / "written" / f"{place}.json"


def _facts_of(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _remembered(path: Path) -> list[list[int]]:
    facts = json_if_sound(_memory_of(path)).get("facts")
    return facts if isinstance(facts, list) else []


def _is_remembered(path: Path) -> bool:
    return path.is_file() and _facts_of(path) in _remembered(path)


def _remember(path: Path, temporary: Path) -> None:
    facts = [_facts_of(temporary), *_remembered(path)][:_KEPT]
    # A cache that cannot be written costs the next command a refusal, not this one its result.
    with contextlib.suppress(OSError, HydraError):
        write_json(_memory_of(path), {"file": str(path), "facts": facts})
