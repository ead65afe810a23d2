"""Pictures to pixels in a thread beside the runner, a few ahead of the question that needs them.

Decoding and resizing release the interpreter's lock, so that one thread suffices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from PIL import Image

from hydra_mobile.benchmarks.pictures import Picture
from hydra_mobile.core.errors import HydraError
from hydra_mobile.runtimes.base import Array

#: Pictures held ready: 1.4 MB each at 336 x 336.
AHEAD = 4


class PicturesAhead:
    """Prepares pictures in the order in which they will be asked for; a context manager.

    Args:
        pictures: one for each time that pixels will be taken, in that order.
        prepare: makes pixels float32 [3, H, W] of an RGB picture.
        ahead: how many to hold ready.
    """

    def __init__(
        self,
        pictures: Iterable[Picture],
        prepare: Callable[[Image.Image], Array],
        ahead: int = AHEAD,
    ) -> None:
        self._coming = iter(pictures)
        self._prepare = prepare
        self._pool = ThreadPoolExecutor(1, "pictures")
        self._ready: deque[tuple[str, Future[Array]]] = deque()
        for _ in range(ahead):
            self._start_next()

    def take(self, picture: Picture) -> Array:
        """Return the pixels of the next picture, which must be `picture`.

        Raises:
            DataError: it is missing or cannot be read.
        """
        if not self._ready or self._ready[0][0] != picture.key:
            raise HydraError(f"The picture {picture.key} was asked for out of its order.")
        _, future = self._ready.popleft()
        self._start_next()
        return future.result()

    def _start_next(self) -> None:
        picture = next(self._coming, None)
        if picture is not None:
            future = self._pool.submit(lambda: self._prepare(picture.open()))
            self._ready.append((picture.key, future))

    def __enter__(self) -> PicturesAhead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
