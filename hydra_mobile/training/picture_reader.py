"""Pictures to pixels, ahead of the step that needs them: a pool of threads and what it has read.

Decoding and resizing release the interpreter's lock, so that threads suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import open_image
from hydra_mobile.models.preprocessing import ImagePreprocessing

Pixels = NDArray[np.float32]

# Pictures that are held ready, 350 MB at 336 x 336; an announcement beyond them is forgotten. Also
# the most batches that one waits for: what none of them asked for is not coming any more.
_MOST_AHEAD = 256


class PictureReader:
    """Reads and prepares pictures.

    Args:
        recipe: how a picture becomes pixels.
        workers: threads that read ahead; 0 reads when asked.
        record_of: gives the id of a record with a picture, for messages.
    """

    def __init__(
        self, recipe: ImagePreprocessing, workers: int, record_of: Callable[[Path], str]
    ) -> None:
        self._recipe = recipe
        self.workers = workers
        self._record_of = record_of
        self._pool = ThreadPoolExecutor(workers, "pictures") if workers else None
        # In the order of announcement, each with the number of batches before it.
        self._ahead: dict[Path, tuple[Future[Pixels], int]] = {}
        self._batches = 0

    def announce(self, images: Sequence[Path | None]) -> None:
        """Start to read pictures that will be asked for soon; does nothing without workers."""
        if not self._pool:
            return
        while self._ahead:
            image, (future, since) = next(iter(self._ahead.items()))
            if self._batches - since <= _MOST_AHEAD:
                break
            future.cancel()
            del self._ahead[image]
        for image in dict.fromkeys(image for image in images if image is not None):
            if image not in self._ahead and len(self._ahead) < _MOST_AHEAD:
                self._ahead[image] = self._pool.submit(self._read, image), self._batches

    def pixels(self, images: Sequence[Path]) -> Pixels:
        """Return pixels float32 [n, 3, H, W].

        Raises:
            DataError: a picture is missing or corrupt; names it and its record.
        """
        self._batches += 1
        if not self._pool:
            return np.stack([self._read(image) for image in images])
        futures = [
            self._ahead.pop(image)[0]
            if image in self._ahead
            else self._pool.submit(self._read, image)
            for image in images
        ]
        return np.stack([future.result() for future in futures])

    def _read(self, image: Path) -> Pixels:
        try:
            picture = open_image(image)
        except DataError:
            # Only now: the search for the record goes through all names.
            picture = open_image(image, self._record_of(image))
        return self._recipe(picture)
