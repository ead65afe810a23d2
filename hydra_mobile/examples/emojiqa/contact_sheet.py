"""A contact sheet: thumbnails with captions on one PNG, for people who want to see the data."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_COLUMNS = 4
_THUMBNAIL = 132
_CELL = (372, 150)
_HEADING = 40
_MARGIN = 16


@dataclass(frozen=True)
class Cell:
    """One picture with what is asked about it.

    Attributes:
        image: a picture file.
        title: printed bold-like, on top.
        subtitle: printed beside the title, may be empty.
        question: printed line by line, long lines wrapped.
        answer: printed in colour below.
    """

    image: Path
    title: str
    subtitle: str
    question: str
    answer: str


def contact_sheet(sections: Mapping[str, Sequence[Cell]], out: Path) -> None:
    """Write a PNG with one titled block of cells for each section."""
    rows = {title: -(-len(cells) // _COLUMNS) for title, cells in sections.items()}
    height = sum(_HEADING + count * _CELL[1] for count in rows.values()) + 2 * _MARGIN
    sheet = Image.new("RGB", (_COLUMNS * _CELL[0] + 2 * _MARGIN, height), "white")
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    for title, cells in sections.items():
        draw.text((_MARGIN, top + 6), title, fill="black", font=ImageFont.load_default(22))
        top += _HEADING
        for index, cell in enumerate(cells):
            row, column = divmod(index, _COLUMNS)
            _draw_cell(sheet, draw, cell, _MARGIN + column * _CELL[0], top + row * _CELL[1])
        top += rows[title] * _CELL[1]
    sheet.save(out, "PNG")


def _draw_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, left: int, top: int
) -> None:
    with Image.open(cell.image) as picture:
        thumbnail = picture.convert("RGB").resize((_THUMBNAIL, _THUMBNAIL))
    sheet.paste(thumbnail, (left, top))
    left += _THUMBNAIL + 8
    small = ImageFont.load_default(12)
    lines = textwrap.wrap(cell.title, 24)[:2]
    for line in lines:
        draw.text((left, top), line, fill="black", font=ImageFont.load_default(16))
        top += 19
    if cell.subtitle:
        draw.text((left, top), f"class: {cell.subtitle}", fill="#777777", font=small)
        top += 16
    # The last line of a question is the suffix that asks for a form of answer: the same everywhere.
    for paragraph in cell.question.splitlines()[:-1] or [cell.question]:
        for line in textwrap.wrap(paragraph, 36):
            draw.text((left, top), line, fill="#222222", font=small)
            top += 14
    draw.text((left, top + 2), cell.answer, fill="#0b6e3a", font=ImageFont.load_default(15))
