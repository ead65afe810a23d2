"""Pictures to pixels, ahead of the step or question that needs them, by threads.

Decoding and resizing release the interpreter's lock, so that threads suffice. Training announces
batches (`PictureReader`), an evaluation knows the order of all its questions (`PicturesAhead`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.preprocessing import ImagePreprocessing

Pixels = NDArray[np.float32]
Key = TypeVar("Key", bound=Hashable)

#: Pictures that a `PictureReader` holds ready, 350 MB at 336 x 336; an announcement beyond them is
#: forgotten. Also the most batches that one waits for: a picture that none of them requested will
#: never be requested.
MOST_ANNOUNCED = 256
#: Pictures that `PicturesAhead` holds ready: 1.4 MB each at 336 x 336.
AHEAD = 4


class Prefetcher(Generic[Key]):
    """Pixels by key, prepared by threads.

    Args:
        threads: that prepare; 0 prepares when the pixels are taken.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "pictures") if threads else None
        #: In the order of their start.
        self.held: dict[Key, Future[Pixels]] = {}

    def start(self, key: Key, prepare: Callable[[], Pixels]) -> None:
        """Begin to prepare the pixels of `key`, if they are not held and there are threads."""
        if self._pool and key not in self.held:
            self.held[key] = self._pool.submit(prepare)

    def take(self, key: Key, keep: bool = False) -> Pixels:
        """Return pixels that were started, waiting for them if need be.

        Args:
            key: of the pixels.
            keep: hold them for the next who takes them.

        Raises:
            KeyError: they were not started, or taken before.
        """
        future = self.held[key] if keep else self.held.pop(key)
        return future.result()

    def forget(self, key: Key) -> None:
        """Let go of pixels that nobody will take."""
        self.held.pop(key).cancel()

    def close(self) -> None:
        """End the threads; what has not begun is not prepared."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)


class PictureReader:
    """Reads and prepares the pictures of batches.

    Args:
        recipe: how a picture becomes pixels.
        workers: threads that read ahead; 0 reads in the step.
        record_of: gives the id of a record with a picture, for messages.
    """

    def __init__(
        self, recipe: ImagePreprocessing, workers: int, record_of: Callable[[Path], str]
    ) -> None:
        self.workers = workers
        self._recipe = recipe
        self._record_of = record_of
        self._ahead: Prefetcher[Path] = Prefetcher(workers)
        #: Number of batches before each announcement.
        self._since: dict[Path, int] = {}
        self._batches = 0

    @property
    def announced(self) -> list[Path]:
        """The pictures that are held ready or being read."""
        return list(self._ahead.held)

    def announce(self, images: Sequence[Path]) -> None:
        """Start to read pictures of a coming batch; does nothing without workers."""
        if not self.workers:
            return
        for image in self.announced:
            if self._batches - self._since[image] <= MOST_ANNOUNCED:
                break
            self._ahead.forget(image)
            del self._since[image]
        for image in dict.fromkeys(images):
            if image not in self._ahead.held and len(self._ahead.held) < MOST_ANNOUNCED:
                self._start(image)

    def pixels(self, images: Sequence[Path]) -> Pixels:
        """Return pixels float32 [n, 3, H, W].

        Raises:
            DataError: a picture is missing or corrupt; names it and its record.
        """
        self._batches += 1
        if not self.workers:
            return np.stack([self._read(image) for image in images])
        for image in images:
            self._start(image)
        return np.stack([self._take(image) for image in images])

    def _start(self, image: Path) -> None:
        self._since.setdefault(image, self._batches)
        self._ahead.start(image, lambda: self._read(image))

    def _take(self, image: Path) -> Pixels:
        del self._since[image]
        return self._ahead.take(image)

    def _read(self, image: Path) -> Pixels:
        try:
            picture = open_picture(image)
        except DataError:
            # Only now: the search for the record goes through all names.
            picture = open_picture(image, self._record_of(image))
        return self._recipe(picture)


class Picture(Protocol):
    """A picture that can be opened; equal keys mean equal pixels."""

    @property
    def key(self) -> str:
        """A name of the pixels."""

    def open(self) -> Image.Image:
        """Return the picture as RGB."""


class PicturesAhead:
    """Prepares pictures in the order in which they will be taken; a context manager.

    A picture that several of the next questions share is prepared once.

    Args:
        pictures: one for each time that pixels will be taken, in that order.
        prepare: makes pixels float32 [3, H, W] of an RGB picture.
        ahead: how many to hold ready.
    """

    def __init__(
        self,
        pictures: Iterable[Picture],
        prepare: Callable[[Image.Image], Pixels],
        ahead: int = AHEAD,
    ) -> None:
        self._coming = iter(pictures)
        self._prepare = prepare
        self._prefetcher: Prefetcher[str] = Prefetcher(1)
        self._next: deque[str] = deque()
        for _ in range(ahead):
            self._start_next()

    def take(self, picture: Picture) -> Pixels:
        """Return the pixels of the next picture, which must be `picture`.

        Raises:
            DataError: it is missing or cannot be read.
        """
        if not self._next or self._next[0] != picture.key:
            raise HydraError(f"The image {picture.key} was taken out of its order.")
        self._next.popleft()
        self._start_next()
        return self._prefetcher.take(picture.key, keep=picture.key in self._next)

    def _start_next(self) -> None:
        picture = next(self._coming, None)
        if picture is not None:
            self._next.append(picture.key)
            self._prefetcher.start(picture.key, lambda: self._prepare(picture.open()))

    def __enter__(self) -> PicturesAhead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._prefetcher.close()
