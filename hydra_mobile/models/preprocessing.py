"""A picture to pixels: PIL and numpy only, described by data that a bundle can carry.

The same arithmetic has to run on the phone, so it is few and plain steps: fit to a square, resize,
scale to [0, 1], subtract the mean, divide by the deviation. Knows no model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hydra_mobile.errors import ArtefactError

_RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class ImagePreprocessing:
    """How a picture becomes pixels float32 [3, size, size].

    Attributes:
        size: side of the square in pixels.
        mean: per channel (RGB), in units of [0, 1].
        std: per channel, in units of [0, 1].
        fit: "pad" to a square with the mean colour, or "stretch".
        resample: PIL's filter.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: Literal["pad", "stretch"] = "pad"
    resample: Literal["bicubic", "bilinear"] = "bicubic"

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Return pixels float32 [3, size, size] of an RGB picture of any size."""
        if image.mode != "RGB":
            image = image.convert("RGB")
        if self.fit == "pad" and image.width != image.height:
            side = max(image.size)
            # LLaVA truncates the mean colour to integers; so do we.
            colour = tuple(int(255 * channel) for channel in self.mean)
            square = Image.new("RGB", (side, side), colour)
            square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            image = square
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), _RESAMPLE[self.resample])
        pixels = np.asarray(image, dtype=np.float32) / np.float32(255.0)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        pixels = (pixels - mean) / std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as manifests store it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str) -> ImagePreprocessing:
        """Read a stored recipe; `where` names the file for the message.

        Raises:
            ArtefactError: a key is missing or has an unknown value.
        """
        try:
            recipe = cls(
                size=int(value["size"]),
                mean=(float(value["mean"][0]), float(value["mean"][1]), float(value["mean"][2])),
                std=(float(value["std"][0]), float(value["std"][1]), float(value["std"][2])),
                fit=value["fit"],
                resample=value["resample"],
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ArtefactError(
                f"{where}: image preprocessing is incomplete: {error!r}."
            ) from error
        if recipe.resample not in _RESAMPLE or recipe.fit not in ("pad", "stretch"):
            raise ArtefactError(
                f"{where}: image preprocessing has fit={recipe.fit!r}, "
                f"resample={recipe.resample!r}; expected pad or stretch, bicubic or bilinear."
            )
        return recipe
