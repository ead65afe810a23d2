"""Where a question's picture is: a file of the benchmark, or, for tables, a file in the cache.

Pictures are opened only when they are asked for, so that memory stays flat however large the
benchmark is.
"""

from __future__ import annotations

import base64
import hashlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import cache_home, write_atomically
from hydra_mobile.models.pictures import check_header, open_picture

#: Base64 of the first bytes of a format -> the ending of its files.
_ENDINGS = {"/9j/": ".jpg", "iVBOR": ".png", "R0lGO": ".gif", "UklGR": ".webp", "Qk": ".bmp"}


#: The published protocols score pictures as they are stored: LLaVA's scripts and MobileVLM's open
#: them with Pillow, which leaves EXIF orientations alone.
TURNED = False


class Picture(ABC):
    """A picture that can be opened. Equal keys mean equal pixels."""

    @property
    @abstractmethod
    def key(self) -> str:
        """A name of the pixels: pictures with equal keys are one picture."""

    @abstractmethod
    def open(self) -> Image.Image:
        """Return the picture, fully read, as RGB.

        Raises:
            DataError: it is missing, cut short or no picture; names the file.
        """

    @abstractmethod
    def content(self) -> bytes:
        """Return the picture's file as it is: compressed bytes, not pixels.

        Raises:
            DataError: it is missing; names the file.
        """

    @abstractmethod
    def exists(self) -> bool:
        """Say whether there is anything to open, without opening it."""


@dataclass(frozen=True)
class FilePicture(Picture):
    """A picture in a file of its own.

    Attributes:
        path: the file.
        origin: the table and row that it was unpacked from; "" for a file of the benchmark's.
    """

    path: Path
    origin: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """The path."""
        return str(self.path)

    def open(self) -> Image.Image:
        """Return the picture; see `Picture.open`."""
        try:
            return open_picture(self.path, turn=TURNED)
        except DataError as error:
            if not self.origin:
                raise
            raise DataError(f"{self.origin}: {error.what}", "Download the table again.") from error

    def content(self) -> bytes:
        """Return the file; see `Picture.content`."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(
                f"The image {self.path} cannot be read: {error.strerror}.",
                "Check the folder of images.",
            ) from error

    def exists(self) -> bool:
        """Say whether the file is there."""
        # `Path.is_file` raises for a name that is too long.
        return os.path.isfile(self.path)


@dataclass(frozen=True)
class MissingPicture(Picture):
    """A picture that is not there, or is none: its question can be scored, but not asked.

    Attributes:
        where: the row that should have it.
        why: what is wrong.
    """

    where: str
    why: str

    @property
    def key(self) -> str:
        """The row's name."""
        return self.where

    def open(self) -> Image.Image:
        """Raise: there is nothing to open."""
        raise self._error()

    def content(self) -> bytes:
        """Raise: there is nothing to read."""
        raise self._error()

    def exists(self) -> bool:
        """Say that there is nothing."""
        return False

    def _error(self) -> DataError:
        return DataError(f"{self.where} {self.why}.", "Download the table again.")


def unpacked(text: str, where: str) -> Picture:
    """Return the picture of a table's cell, as a file in the cache.

    A picture is written once: its file is named by what the cell holds, so equal cells, of
    whatever rows and tables, are one file.

    Args:
        text: base64 of a picture's file.
        where: the table and row, for messages.
    """
    name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    path = cache_home() / "pictures" / name[:2] / f"{name}{_ending(text)}"
    if not os.path.isfile(path):
        try:
            content = base64.b64decode(text, validate=True)
            # Only the header: the pixels are decoded when they are asked for.
            check_header(content, where)
        except DataError as error:
            return MissingPicture(where, f"has an image that cannot be read: {error.what}")
        except ValueError as error:
            return MissingPicture(where, f"has an image that cannot be read: {error}")
        with write_atomically(path) as temporary:
            temporary.write_bytes(content)
    return FilePicture(path, where)


def _ending(text: str) -> str:
    """Return the ending of a picture's file by the first bytes of its base64 text."""
    return next((ending for start, ending in _ENDINGS.items() if text.startswith(start)), ".img")
