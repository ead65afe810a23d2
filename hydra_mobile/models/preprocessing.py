"""A picture to pixels: PIL and numpy only, described by data that a bundle can carry.

The same arithmetic has to run on the phone, so it is few and plain steps: fit to a square, resize,
scale to [0, 1], subtract the mean, divide by the deviation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.typed import Range, decode
from hydra_mobile.models.pictures import as_rgb
from hydra_mobile.models.tiles import Tiles

Fit = Literal["pad", "crop", "stretch", "tiles"]
# In units of [0, 1]; what is far outside makes of every picture one color, or infinities.
_Mean = Annotated[float, Range(minimum=-100, maximum=100)]
_Deviation = Annotated[float, Range(minimum=1e-6, maximum=1e6)]

#: How many times longer than wide a picture may be before cropping cuts its ends off first:
#: enlarging a strip of one pixel by thousands, to look at its middle, would take gigabytes.
_LONGEST_STRIP = 200
#: Most pixels of a padded picture that are held at once.
_BAND = 4_000_000
_RESAMPLE = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class ImagePreprocessing:
    """How a picture becomes pixels float32 [3, size, size], or [K, 3, size, size] with tiles.

    Attributes:
        size: side of the square in pixels.
        mean: per channel (RGB), in units of [0, 1].
        std: per channel, in units of [0, 1].
        fit: "pad" to a square with the mean color, "crop" the middle square after the shortest
            side has become `size` (CLIP's own; "square" in LLaVA's scripts), "stretch", or
            "tiles": several squares.
        resample: PIL's filter.
        tiles: which squares, with `fit` "tiles".
    """

    # A wider one than any tower reads takes gigabytes before it is found to fit none.
    size: Annotated[int, Range(minimum=1, maximum=2048)]
    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Deviation, _Deviation, _Deviation]
    fit: Fit = "pad"
    resample: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
    # Not in its text: features that were kept under it belong to one square still.
    tiles: Tiles | None = field(default=None, repr=False)

    @property
    def squares(self) -> int:
        """K, the squares that a picture becomes."""
        return self.tiles.count if self.tiles else 1

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Return pixels float32 of an RGB picture of any size: [3, size, size], with tiles K."""
        image = as_rgb(image)
        if self.tiles:
            found = self.tiles.squares(image, self.size, self._resized)
            return np.stack([self._normalized(square) for square in found])
        if image.width != image.height:
            if self.fit == "pad":
                image = self._padded(image)
            elif self.fit == "crop":
                image = self._cropped(image)
        return self._normalized(self._resized(image, self.size, self.size))

    def _resized(self, image: Image.Image, width: int, height: int) -> Image.Image:
        if image.size == (width, height):
            return image
        return image.resize((width, height), _RESAMPLE[self.resample])

    def _normalized(self, image: Image.Image) -> NDArray[np.float32]:
        pixels = np.asarray(image, dtype=np.float32) / np.float32(255.0)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        pixels = (pixels - mean) / std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)

    def _padded(self, image: Image.Image) -> Image.Image:
        """Return [size, size] of a square with the picture in its middle.

        The square itself is never held: a strip of 60,000 pixels would make 10 GB of it. PIL
        resizes rows first and columns then, so bands of rows give the same numbers.
        """
        side = max(image.size)
        # LLaVA truncates the mean color to integers; so do we.
        color = tuple(int(255 * channel) for channel in self.mean)
        left, top = (side - image.width) // 2, (side - image.height) // 2
        narrow = Image.new("RGB", (self.size, side), color)
        rows = max(1, _BAND // side)
        for first in range(0, image.height, rows):
            last = min(first + rows, image.height)
            band = Image.new("RGB", (side, last - first), color)
            band.paste(image.crop((0, first, image.width, last)), (left, 0))
            narrow.paste(
                band.resize((self.size, last - first), _RESAMPLE[self.resample]), (0, top + first)
            )
        return narrow.resize((self.size, self.size), _RESAMPLE[self.resample])

    def _cropped(self, image: Image.Image) -> Image.Image:
        """Return the middle [size, size] of the picture whose shortest side is `size`."""
        shortest = min(image.size)
        # As much on either side, so that the middle stays where it is.
        excess = max(0, max(image.size) - _LONGEST_STRIP * shortest) // 2
        if excess:
            x, y = (excess, 0) if image.width > image.height else (0, excess)
            image = image.crop((x, y, image.width - x, image.height - y))
        # The long side is truncated to an integer, as CLIPImageProcessor's is.
        width, height = (
            self.size if side == shortest else int(self.size * side / shortest)
            for side in image.size
        )
        image = image.resize((width, height), _RESAMPLE[self.resample])
        left, top = (width - self.size) // 2, (height - self.size) // 2
        return image.crop((left, top, left + self.size, top + self.size))

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as manifests store it."""
        value = asdict(self)
        # Hashes of what has none stay what they were.
        return value if self.tiles else {k: v for k, v in value.items() if k != "tiles"}

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str) -> ImagePreprocessing:
        """Read a stored recipe; `where` names the file for the message.

        Raises:
            ArtifactError: a key is missing or unknown, or has a value that it cannot have.
        """
        stored = {name: found for name, found in value.items() if name != "tiles"}
        image = decode(
            cls, {**stored, "tiles": None}, f"{where}, image preprocessing", complete=True
        )
        if (image.fit == "tiles") != ("tiles" in value):
            raise ArtifactError(
                f'{where}, image preprocessing: `tiles` and `fit` "tiles" belong together.'
            )
        if image.fit != "tiles":
            return image
        return replace(image, tiles=Tiles.from_dict(value["tiles"], where))
