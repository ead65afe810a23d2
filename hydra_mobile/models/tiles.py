"""Several squares of one picture: a grid of tiles and an overview, in place of one square.

The grid is fixed, so that every picture has the same number of tokens in training and on a phone.
A picture is stretched to the grid, as without tiles it is stretched to one square.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image

from hydra_mobile.core.errors import ArtifactError, ConfigError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.typed import Range, decode

#: In a model folder: the grid that it was trained with.
TILES_FILE = "tiles.json"
#: In a row or in a column.
_MOST = 64
_Count = Annotated[int, Range(minimum=1, maximum=_MOST)]


@dataclass(frozen=True)
class Grid:
    """Rows and columns of tiles; two at least."""

    rows: _Count
    columns: _Count

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @classmethod
    def parse(cls, text: str) -> Grid:
        """Return the grid of a text like "2x3", rows first.

        Raises:
            ConfigError: it is none, or has fewer than two tiles.
        """
        found = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text)
        rows, columns = map(int, found.groups()) if found else (0, 0)
        if rows * columns < 2 or max(rows, columns) > _MOST:
            raise ConfigError(
                f"data.tiles is {text!r}, expected ROWSxCOLUMNS with two tiles at least and "
                f"{_MOST} in a row or column at most.",
                "For example data.tiles=2x2; leave it empty for one square.",
            )
        return cls(rows, columns)


def tiles_in(folder: Path) -> Grid | None:
    """Return the grid that a model folder asks for; None: one square.

    Raises:
        ArtifactError: the file is damaged.
    """
    file = folder / TILES_FILE
    if not file.is_file():
        return None
    grid = decode(Grid, read_json(file, "a grid of tiles"), str(file), complete=True)
    if grid.rows * grid.columns < 2:
        raise ArtifactError(
            f"{file} says {grid}: expected two tiles at least.",
            "Take the folder again from where it came from; one square has no such file.",
            where=str(file),
            found=str(grid),
        )
    return grid


def write_tiles(folder: Path, tiles: Tiles | None) -> None:
    """Say in a model folder which grid it reads pictures in; nothing for one square."""
    if tiles is not None:
        write_json(folder / TILES_FILE, {"rows": tiles.rows, "columns": tiles.columns})


@dataclass(frozen=True)
class Tiles:
    """How a picture becomes a list of squares: tiles row by row, then the overview.

    Attributes:
        rows: of tiles.
        columns: of tiles.
        overview: the whole picture as one square, resized from the "image" as it is or from the
            "grid" that it was stretched to.
        texts: what is written before the embeddings of each square.
    """

    rows: _Count
    columns: _Count
    overview: Literal["image", "grid"]
    texts: tuple[str, ...]

    @property
    def count(self) -> int:
        """Squares of a picture."""
        return self.rows * self.columns + 1

    def squares(
        self, image: Image.Image, side: int, resized: Callable[[Image.Image, int, int], Image.Image]
    ) -> list[Image.Image]:
        """Return the squares of a picture.

        Args:
            image: RGB.
            side: of a square in pixels.
            resized: resizes a picture to a width and a height.
        """
        grid = resized(image, self.columns * side, self.rows * side)
        found = [
            grid.crop((x * side, y * side, (x + 1) * side, (y + 1) * side))
            for y in range(self.rows)
            for x in range(self.columns)
        ]
        return [*found, resized(grid if self.overview == "grid" else image, side, side)]

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str) -> Tiles:
        """Read stored tiles; `where` names the file for the message.

        Raises:
            ArtifactError: a key is missing or unknown, or there is not one text for each square.
        """
        found = decode(cls, value, f"{where}, tiles", complete=True)
        if len(found.texts) != found.count:
            raise ArtifactError(
                f"{where}: tiles have {len(found.texts)} `texts`, expected {found.count}, one for "
                "each tile and one for the overview."
            )
        return found
