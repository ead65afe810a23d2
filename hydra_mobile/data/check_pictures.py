"""Are the pictures there, and whole: each looked at once, by a pool of threads.

Keeps a 64-bit hash of each picture to know what was seen.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Literal, NamedTuple

from hydra_mobile.core.boundaries import reason_of
from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.core.files import cache_home, write_json
from hydra_mobile.core.integrity import read_sealed, sealed
from hydra_mobile.models.pictures import check_header, inspect_picture

Depth = Literal["full", "header", "exists", "none"]

# A task costs more than to look whether one file exists.
_PICTURES_PER_TASK = 32
_TASKS_PER_WORKER = 4
_LONGEST_PATH = 300
_PICTURES_PER_CALL = 256

#: (pictures looked at, pictures in all)
Progress = Callable[[int, int], None]


class BadPicture(NamedTuple):
    """A picture that cannot be used, or is changed when opened; its first record, and why."""

    kind: Literal[
        "missing pictures", "corrupt pictures", "turned pictures", "scaled 16-bit pictures"
    ]
    record: str
    why: str


def digest(text: str) -> int:
    """Return 64 bits of `text`: two of a million texts share them once in 30 million files."""
    data = text.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


class PictureCheck:
    """Looks at pictures in the background; reports bad ones in the order of the file.

    Args:
        depth: "full" decodes, "header" reads the beginning, "exists" only asks for the file.
        workers: threads; 0: as many as there are cores.
        report: called in the caller's own thread with what is wrong.
    """

    def __init__(self, depth: Depth, workers: int, report: Callable[[BadPicture], None]) -> None:
        self._depth = depth
        self._report = report
        self._seen: set[int] = set()
        workers = workers or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(workers, "pictures")
        self._most = workers * _TASKS_PER_WORKER
        self._next: list[tuple[Path, str]] = []
        self._running: deque[Future[list[BadPicture]]] = deque()

    @property
    def different(self) -> int:
        """How many different pictures were named."""
        return len(self._seen)

    def add(self, folder: Path, name: str, record: str) -> None:
        """Look at the picture `name` in `folder` unless that has been done; may wait for others."""
        key = digest(name)
        if key in self._seen:
            return
        self._seen.add(key)
        if self._depth == "none":
            return
        self._next.append((folder / name, record))
        if len(self._next) == _PICTURES_PER_TASK:
            self._submit()

    def finish(self) -> None:
        """Wait for all and report."""
        self._submit()
        while self._running:
            self._collect()
        self._pool.shutdown()

    def stop(self) -> None:
        """Report what has been looked at, and leave the rest."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for task in self._running:
            if task.done() and not task.cancelled():
                self._report_all(task.result())

    def _submit(self) -> None:
        if len(self._running) >= self._most:
            self._collect()
        self._running.append(self._pool.submit(_look_at, self._next, self._depth))
        self._next = []

    def _collect(self) -> None:
        # Waits before it takes the task out: an interrupted wait loses nothing.
        self._running[0].result()
        self._report_all(self._running.popleft().result())

    def _report_all(self, bad: list[BadPicture]) -> None:
        for picture in bad:
            self._report(picture)


def unusable(
    pictures: Sequence[Path], workers: int = 0, progress: Progress = lambda done, total: None
) -> dict[int, str]:
    """Decode pictures and return what is wrong, by position, with those that cannot be used.

    The result is remembered in the cache for as long as names, sizes and times of all files stay.

    Args:
        pictures: files, each once.
        workers: threads; 0: as many as there are cores.
        progress: gets how many were looked at, and of how many; nothing where it is remembered.
    """
    facts = blake2b(digest_size=16)
    for path in pictures:
        try:
            found = path.stat()
            facts.update(f"{path.absolute()} {found.st_size} {found.st_mtime_ns}\n".encode())
        except (OSError, ValueError):
            facts.update(f"{path.absolute()} -\n".encode(errors="surrogateescape"))
    memory = cache_home() / "pictures" / f"{facts.hexdigest()}.json"
    with contextlib.suppress(HydraError, KeyError, TypeError, ValueError, AttributeError):
        kept = read_sealed(memory, "what is wrong with images", "")
        return {int(number): str(why) for number, why in kept["unusable"].items()}
    bad: dict[int, str] = {}
    with ThreadPoolExecutor(workers or os.cpu_count() or 1, "pictures") as pool:
        # In batches: 665,000 tasks at once would fill the memory.
        for start in range(0, len(pictures), _PICTURES_PER_CALL):
            batch = pictures[start : start + _PICTURES_PER_CALL]
            for number, why in enumerate(pool.map(fault_of, batch), start):
                if why:
                    bad[number] = why
            progress(start + len(batch), len(pictures))
    with contextlib.suppress(OSError, HydraError):
        write_json(memory, sealed({"unusable": {str(number): why for number, why in bad.items()}}))
    return bad


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= _LONGEST_PATH else f"{text[: _LONGEST_PATH - 3]}..."


def fault_of(path: Path) -> str:
    """Return why training cannot use a picture, which is decoded for it; "" where it can."""
    for found in _findings(path, "", "full"):
        if found.kind in ("missing pictures", "corrupt pictures"):
            return found.why
    return ""


def _look_at(pictures: list[tuple[Path, str]], depth: Depth) -> list[BadPicture]:
    return [found for path, record in pictures for found in _findings(path, record, depth)]


def _findings(path: Path, record: str, depth: Depth) -> Iterator[BadPicture]:
    try:
        found = path.is_file()
        what = "is a folder" if path.is_dir() else "does not exist"
    # A name of thousands of characters, a folder that may not be looked into.
    except OSError as error:
        found, what = False, f"cannot be looked at: {reason_of(error)}"
    if not found:
        yield BadPicture("missing pictures", record, f"{_short(path)} {what}")
        return
    try:
        if depth == "full":
            opened = inspect_picture(path)
            if opened.turned:
                yield BadPicture("turned pictures", record, f"{path} has an EXIF orientation.")
            if opened.scaled:
                yield BadPicture("scaled 16-bit pictures", record, f"{path} has grays of 16 bits.")
        elif depth == "header":
            check_header(path, str(path))
    except DataError as error:
        yield BadPicture("corrupt pictures", record, error.what)
