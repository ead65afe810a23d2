"""Pictures to pixels, ahead of the step that needs them: a pool of threads and what it has read.

Decoding and resizing release the interpreter's lock, so that threads suffice. Knows no model;
`features` owns one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.data.llava import open_image
from hydra_mobile.errors import DataError
from hydra_mobile.models.preprocessing import ImagePreprocessing

Pixels = NDArray[np.float32]

# Announced pictures that are never asked for must not pile up: 350 MB at 336 x 336.
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
        self._record_of = record_of
        self._pool = ThreadPoolExecutor(workers, "pictures") if workers else None
        self._ahead: dict[Path, Future[Pixels]] = {}

    def announce(self, images: Sequence[Path | None]) -> None:
        """Start to read pictures that will be asked for soon; does nothing without workers."""
        if not self._pool:
            return
        for image in images:
            if image is not None and image not in self._ahead:
                self._ahead[image] = self._pool.submit(self._read, image)
        while len(self._ahead) > _MOST_AHEAD:
            oldest = next(iter(self._ahead))
            self._ahead.pop(oldest).cancel()

    def pixels(self, images: Sequence[Path]) -> Pixels:
        """Return pixels float32 [n, 3, H, W].

        Raises:
            DataError: a picture is missing or corrupt; names it and its record.
        """
        if self._pool and len(images) > 1:
            self.announce(images)
        parts: list[Any] = []
        for image in images:
            future = self._ahead.pop(image, None)
            parts.append(self._read(image) if future is None else future.result())
        return np.stack(parts)

    def _read(self, image: Path) -> Pixels:
        try:
            picture = open_image(image)
        except DataError:
            # Only now: the search for the record goes through all names.
            picture = open_image(image, self._record_of(image))
        return self._recipe(picture)
