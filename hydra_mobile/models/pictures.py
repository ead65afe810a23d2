"""The one place where pictures are opened: for training, checks, chat, calibration, benchmarks.

What a person sees is what the model sees: a phone's photo is turned as its EXIF orientation says,
16-bit grays are scaled and not cut, transparent pixels are shown on white. Published benchmarks
score pictures as LLaVA reads them, without the turn and with transparency dropped; see
`benchmarks/pictures.py`.
"""

from __future__ import annotations

import io
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from hydra_mobile.core.errors import DataError

#: No other decoder of Pillow's is tried: that for EPS, for one, starts Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
#: Larger pictures are refused: 384 MB as RGB.
MOST_PIXELS = 128_000_000
#: Longer ones are refused; JPEG's own limit is 65,535.
LONGEST_SIDE = 65_535

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: What Pillow's decoders raise for a damaged file.
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError, struct.error)
_CONVERT = "Convert it to JPEG or PNG."
#: Brands of ISO media files that hold pictures.
_HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")


@dataclass(frozen=True)
class Opened:
    """A picture, and what opening it did.

    Attributes:
        picture: RGB, fully read.
        turned: its EXIF orientation was not upright.
        scaled: its grays of 16 or 32 bits became 8.
    """

    picture: Image.Image
    turned: bool
    scaled: bool


def open_picture(path: Path, record_id: str = "", *, turn: bool = True) -> Image.Image:
    """Return the picture at `path`, fully read, as RGB.

    Args:
        path: a regular file of one of `FORMATS`.
        record_id: of the record that names it, for messages.
        turn: apply the EXIF orientation; False reads the pixels as they are stored.

    Raises:
        DataError: it is missing, no regular file, damaged, too large or of another format.
    """
    return inspect_picture(path, record_id, turn=turn).picture


def inspect_picture(path: Path, record_id: str = "", *, turn: bool = True) -> Opened:
    """Return the picture at `path` and what opening it did; see `open_picture`."""
    name = f"{path}{f' (record {record_id!r})' if record_id else ''}"
    require_regular(path, name)
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return _read(picture, f"The image {name}", turn)
    except Image.DecompressionBombError as error:
        raise _too_large(f"The image {name}", str(error)) from None
    except FileNotFoundError:
        raise _missing(name) from None
    except UnidentifiedImageError:
        raise _other_format(_beginning(path), f"The image {name}") from None
    except _DAMAGED as error:
        raise _damaged(f"The image {name}", error) from error


def check_header(source: Path | bytes, name: str) -> None:
    """Raise if the beginning of a picture says that it cannot be opened; decodes no pixels.

    Args:
        source: a file, or a file's content.
        name: of the picture, for messages.

    Raises:
        DataError: as `open_picture`.
    """
    if isinstance(source, Path):
        require_regular(source, name)
    try:
        opened = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(opened, formats=FORMATS) as picture:
            _require_size(picture, f"The image {name}")
    except Image.DecompressionBombError as error:
        raise _too_large(f"The image {name}", str(error)) from None
    except UnidentifiedImageError:
        start = source[:512] if isinstance(source, bytes) else _beginning(source)
        raise _other_format(start, f"The image {name}") from None
    except _DAMAGED as error:
        raise _damaged(f"The image {name}", error) from error


def as_rgb(picture: Image.Image, *, turn: bool = True) -> Image.Image:
    """Return an open picture, fully read, as RGB; one that this made is returned alike.

    Transparent pixels carry arbitrary colors: they are shown on white, as viewers do.

    Args:
        picture: of any mode but floats.
        turn: apply the EXIF orientation and show transparent pixels on white; False: neither, as
            published protocols read pictures.

    Raises:
        DataError: its pixels cannot be read, or are floats.
    """
    try:
        return _read(picture, "The image", turn).picture
    except _DAMAGED as error:
        raise _damaged("The image", error) from error


def require_regular(path: Path, name: str) -> None:
    """Raise unless `path` is a regular file: a FIFO or a device would be waited for, for ever.

    Raises:
        DataError: it is missing, a folder, or another thing that is no file.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(name) from None
    except (OSError, ValueError) as error:
        raise DataError(f"The image {name} cannot be opened: {error}.") from None
    if stat.S_ISDIR(mode):
        raise DataError(f"{name} is a folder: expected an image.")
    if not stat.S_ISREG(mode):
        raise DataError(
            f"{name} is a FIFO, a socket or a device: expected an image.",
            "Name a regular file.",
        )


def _read(picture: Image.Image, what: str, turn: bool) -> Opened:
    _require_size(picture, what)
    picture.load()
    orientation = _orientation(picture) if turn else 1
    scaled = picture.mode == "I" or picture.mode.startswith("I;16")
    if scaled:
        rgb = _eight_bits(picture, what).convert("RGB")
    elif picture.mode == "F":
        raise DataError(
            f"{what} holds floats (mode F): expected 8 or 16 bits a channel.",
            "What is black and what is white is not known; convert it to 8 bits.",
        )
    elif turn and _has_transparency(picture):
        white = Image.new("RGBA", picture.size, "white")
        rgb = Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    else:
        rgb = picture.convert("RGB")
    if orientation in _TURNS:
        rgb = rgb.transpose(_TURNS[orientation])
    # Whoever opens it once more must not turn it once more.
    rgb.info = {}
    return Opened(rgb, orientation in _TURNS, scaled)


def _has_transparency(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def _require_size(picture: Image.Image, what: str) -> None:
    width, height = picture.size
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise _too_large(what, f"{width} x {height} pixels")
    if not width or not height:
        raise DataError(f"{what} is empty: {width} x {height} pixels.")


def _orientation(picture: Image.Image) -> int:
    """Return 1 to 8; 1, upright, where the metadata are damaged, as viewers do."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except _DAMAGED:
        return 1
    return found if isinstance(found, int) else 1


def _eight_bits(picture: Image.Image, what: str) -> Image.Image:
    """Return grays of 0 to 65,535 as the nearest of 0 to 255: white is 65,535 = 257 * 255."""
    grays = np.asarray(picture).astype(np.int64)
    lowest, highest = int(grays.min()), int(grays.max())
    if lowest < 0 or highest > 65_535:
        raise DataError(
            f"{what} holds grays from {lowest} to {highest} (mode {picture.mode}): "
            "expected 0 to 65535.",
            "Scale it to 8 or 16 bits.",
        )
    return Image.fromarray(((grays + 128) // 257).astype(np.uint8))


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError:
        return b""


def _other_format(start: bytes, what: str) -> DataError:
    """Return the error for a file that no decoder of ours knows, by its first bytes."""
    expected = f"expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    found = ""
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF:
        found = "HEIC (HEIF), the format of iPhones"
    elif start[4:8] == b"ftyp" and start[8:12] in _AVIF:
        found = "AVIF"
    elif text.startswith((b"<svg", b"<?xml")) or b"<svg" in start:
        found = "SVG"
    elif text.startswith(b"%!PS"):
        found = "EPS (PostScript)"
    elif text.startswith(b"%PDF"):
        found = "PDF"
    if found:
        return DataError(f"{what} cannot be read: it is {found}; {expected}.", _CONVERT)
    return DataError(
        f"{what} cannot be read: it is none of the formats that are known; {expected}.",
        "The file is cut short or no image; replace it.",
    )


def _damaged(what: str, error: Exception) -> DataError:
    return DataError(
        f"{what} cannot be read: {error}.", "The file is cut short or no image; replace it."
    )


def _missing(name: str) -> DataError:
    return DataError(
        f"The image {name} does not exist.",
        "Check the path, and the image folder that it is relative to.",
    )


def _too_large(what: str, found: str) -> DataError:
    return DataError(
        f"{what} is too large: {found}; expected at most {MOST_PIXELS:,} pixels and "
        f"{LONGEST_SIDE:,} on a side.",
        "Save it smaller.",
    )
