"""Where a question's picture is: a file, or a base64 cell in the middle of a big table.

Pictures are opened only when they are asked for, so that memory stays flat however large the
benchmark is.
"""

from __future__ import annotations

import base64
import binascii
import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import as_rgb, open_image


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
            DataError: it is missing, or its place holds no base64 text; names the file.
        """

    @abstractmethod
    def exists(self) -> bool:
        """Say whether there is anything to open, without opening it."""


@dataclass(frozen=True)
class FilePicture(Picture):
    """A picture in a file of its own."""

    path: Path

    @property
    def key(self) -> str:
        """The path."""
        return str(self.path)

    def open(self) -> Image.Image:
        """Return the picture; see `Picture.open`."""
        return open_image(self.path)

    def content(self) -> bytes:
        """Return the file; see `Picture.content`."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(
                f"The picture {self.path} cannot be read: {error.strerror}.",
                "Check the folder of pictures.",
            ) from error

    def exists(self) -> bool:
        """Say whether the file is there."""
        return self.path.is_file()


@dataclass(frozen=True)
class EncodedPicture(Picture):
    """A picture as base64 inside a larger file.

    Attributes:
        file: the table.
        offset: byte at which the base64 text begins.
        length: its bytes.
        record: what messages call the row.
    """

    file: Path
    offset: int
    length: int
    record: str = ""

    @property
    def key(self) -> str:
        """The file and the place in it."""
        return f"{self.file}:{self.offset}+{self.length}"

    def open(self) -> Image.Image:
        """Return the picture; see `Picture.open`."""
        try:
            with Image.open(io.BytesIO(self.content())) as picture:
                return as_rgb(picture)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise self._unreadable(error) from error

    def content(self) -> bytes:
        """Return the decoded cell; see `Picture.content`."""
        try:
            with self.file.open("rb") as handle:
                handle.seek(self.offset)
                return base64.b64decode(handle.read(self.length), validate=True)
        except FileNotFoundError:
            raise DataError(f"{self.file} does not exist any more: it holds the pictures.") from (
                None
            )
        except (OSError, binascii.Error) as error:
            raise self._unreadable(error) from error

    def exists(self) -> bool:
        """Say whether the file reaches as far as the picture."""
        return self.file.is_file() and self.file.stat().st_size >= self.offset + self.length

    def _unreadable(self, error: Exception) -> DataError:
        where = f"{self.file}{f' ({self.record})' if self.record else ''}"
        return DataError(
            f"The picture in {where} cannot be read: {error}.",
            "The file is cut short or was altered; download it again.",
        )
