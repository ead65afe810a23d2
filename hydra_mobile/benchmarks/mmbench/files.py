"""MMBench's tables: one row per question and rotation, the picture a base64 cell.

Columns are read by name, because their order differs between releases, and as text, because a
number, "None" or "nan" may be an option. Pictures are unpacked into the cache.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from hydra_mobile.benchmarks.pictures import MissingPicture, Picture, unpacked
from hydra_mobile.benchmarks.shared.choice_letters import is_none
from hydra_mobile.benchmarks.shared.tab_separated import Row, read_columns, read_rows
from hydra_mobile.core.errors import DataError

#: Rotation k of a question has its index plus k times this.
ROTATION = 1_000_000
#: A shorter cell of digits is the index of the row that holds the picture.
_LONGEST_INDEX = 20
_MEND = "Download the table again."


@dataclass(frozen=True)
class Question:
    """One row.

    Attributes:
        index: of the row.
        group: of the question that the row is a rotation of.
        question: alone.
        prompt: hint, question and options, without the suffix.
        options: texts of A, B, ... as they are offered: up to the first missing one.
        readable: texts of the letters that an answer may name; more than `options` only where the
            right one is not offered.
        answer: the right letter; "" where the table has none.
        category: fine category; "" where the table has none.
        l2_category: coarse category; "" where the table has none.
        picture: where it is.
        cells: the row as the table has it, without the picture.
    """

    index: int
    group: int
    question: str
    prompt: str
    options: tuple[str, ...]
    readable: tuple[str, ...]
    answer: str
    category: str
    l2_category: str
    picture: Picture
    cells: Mapping[str, str]


def has_answers(path: Path) -> bool:
    """Say whether a table has the column `answer`."""
    return "answer" in read_columns(path)


def count_rows(path: Path) -> int:
    """Return how many rows a table has."""
    return sum(1 for _ in read_rows(path))


def row_index(text: str, where: str) -> int:
    """Read an index cell; spreadsheets may have made 7001 into 7001.0.

    Raises:
        DataError: it is no whole number.
    """
    whole = text.strip().removesuffix(".0")
    if not whole.isdecimal():
        raise DataError(f"{where}: the index is {text!r}, expected a whole number.", _MEND)
    return int(whole)


def letters_of(columns: list[str]) -> list[str]:
    """Return the columns that hold options: A, B, ... as far as they go."""
    letters = []
    for letter in ascii_uppercase:
        if letter not in columns:
            break
        letters.append(letter)
    return letters


def options_of(row: Row, letters: list[str]) -> tuple[str, ...]:
    """Return the options of a row: they end at the first missing one."""
    options = []
    for letter in letters:
        if is_none(row.cells[letter]):
            break
        options.append(row.cells[letter])
    return tuple(options)


def read_questions(path: Path) -> list[Question]:
    """Read a table.

    Raises:
        DataError: it is missing or cut short, a column is missing, an index is doubled or no
            number, an answer names no option, or a picture's row does not exist.
    """
    columns = read_columns(path)
    missing = [name for name in ("index", "question", "A", "B") if name not in columns]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)}: found {', '.join(columns)}.",
            "Give one of MMBench's tables (mmbench_dev_20230712.tsv, ...).",
        )
    rows: dict[int, Row] = {}
    pictures: dict[int, Picture | int] = {}
    for row in read_rows(path):
        index = row_index(row.cells["index"], f"{path}, record {row.number}")
        if index in rows:
            raise DataError(f"{path} has two rows with the index {index}.", _MEND)
        rows[index] = row
        # Not kept with the row: all pictures together would fill the memory.
        pictures[index] = _picture(row.cells.pop("image", ""), f"{path}, index {index}")
    letters = letters_of(columns)
    return [
        _question(path, index, row, letters, _found(path, index, pictures))
        for index, row in rows.items()
    ]


def _question(path: Path, index: int, row: Row, letters: list[str], picture: Picture) -> Question:
    cells, options = row.cells, options_of(row, letters)
    answer = cells.get("answer", "").strip()
    answer = "" if is_none(answer) else answer
    if answer and answer not in letters:
        raise DataError(
            f"{path}, index {index}: the answer is {answer!r}, expected one of "
            f"{', '.join(letters)}.",
            _MEND,
        )
    # LLaVA never offers a right option "None"; its letter, should it come, is right all the same.
    readable = max(len(options), letters.index(answer) + 1 if answer else 0)
    hint = cells.get("hint", "")
    asked = cells["question"] if is_none(hint) else f"{hint}\n{cells['question']}"
    lettered = [f"{letter}. {text}" for letter, text in zip(letters, options, strict=False)]
    return Question(
        index=index,
        group=index % ROTATION,
        question=cells["question"],
        prompt="\n".join([asked, *lettered]),
        options=options,
        readable=tuple(cells[letter] for letter in letters[:readable]),
        answer=answer,
        category=cells.get("category", ""),
        l2_category=cells.get("l2-category", ""),
        picture=picture,
        cells=cells,
    )


def _picture(cell: str, where: str) -> Picture | int:
    """Return the picture of a cell, or the index of the row that has it."""
    text = cell.strip()
    if text.startswith("["):
        text = _only_of_list(text, where)
    if is_none(text):
        return MissingPicture(where, "has no image in the column `image`")
    number = text.removesuffix(".0")
    if len(text) <= _LONGEST_INDEX and number.isdecimal():
        return int(number)
    return unpacked(text, where)


def _only_of_list(text: str, where: str) -> str:
    """Return the one text of a cell with a list; "" for an empty list.

    Raises:
        DataError: the list holds several pictures, or is no list of texts.
    """
    try:
        items = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise DataError(
            f"{where}: the cell `image` begins like a list of images and is none: expected "
            '["base64 text"].',
            "Write the image's base64 text alone, or a JSON list of it.",
        )
    if len(items) > 1:
        raise DataError(
            f"{where}: the cell `image` holds a list of images, {len(items)} of them: expected "
            "one.",
            "Models here take one image a question.",
        )
    return items[0] if items else ""


def _found(path: Path, index: int, pictures: Mapping[int, Picture | int]) -> Picture:
    """Return a row's picture, following cells that hold the index of another row."""
    found, seen = pictures[index], {index}
    while isinstance(found, int):
        if found not in pictures or found in seen:
            raise DataError(
                f"{path}, index {index}: the image is said to be in row {found}, "
                f"{'which points back' if found in seen else 'which does not exist'}.",
                _MEND,
            )
        seen.add(found)
        found = pictures[found]
    return found
