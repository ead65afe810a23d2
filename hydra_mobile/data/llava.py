"""Training records: conversations with their pictures, read one at a time.

Strict: a record that a trainer would have to guess about is refused, by file, place and id.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.core.boundaries import shown
from hydra_mobile.core.errors import DataError
from hydra_mobile.data.source import Source
from hydra_mobile.data.validate import IMAGE_MARK, faults_in, images_of
from hydra_mobile.models.templates import Turn


@dataclass(frozen=True)
class Record:
    """One conversation.

    Attributes:
        id: as in the file, or "#index" when the record has none.
        image: path of the only picture, which is before the first question, joined to the image
            folder; None for a text-only record, and where pictures are `placed`.
        turns: at least one, with the text that the file has. Questions differ: the first one about
            `image` lacks the image mark and the white space around itself, others lack each mark
            with the line break behind it.
        placed: paths of the pictures of a record that has several, or one in a later question, in
            the order of the turns' `places`.
    """

    id: str
    image: Path | None
    turns: tuple[Turn, ...]
    placed: tuple[Path, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """All pictures, in order."""
        return self.placed if self.image is None else (self.image,)


def read_llava(
    path: Path, images: Path | None = None, columns: Mapping[str, str] | None = None
) -> list[Record]:
    """Read training data at once; see `iter_llava`.

    Args:
        path: of the data, in any form.
        images: the folder that record paths are relative to; None for the file's own folder.
        columns: other names of the data's fields.

    Raises:
        DataError: as `iter_llava`, or the file holds no records.
    """
    records = list(iter_llava(path, images, columns))
    if not records:
        raise DataError(f"{path} holds no records.", "A training file needs at least one.")
    return records


def iter_llava(
    path: Path, images: Path | None = None, columns: Mapping[str, str] | None = None
) -> Iterator[Record]:
    """Read training data of any form record by record, in bounded memory; see `Source`.

    Args:
        path: a file, a folder of shards, a pattern or a hub id.
        images: the folder that record paths are relative to; None for the file's own folder.
        columns: other names of the data's fields.

    Raises:
        DataError: the file is missing, no JSON or cut short, or a record is not as expected.
    """
    source = Source(path, columns)
    folder = source.folder if images is None else images
    for _, where, value in source:
        yield parse_record(value, where, folder)


def parse_record(value: Any, where: str, images: Path) -> Record:
    """Turn one decoded record into a `Record`.

    Args:
        value: what JSON gave, or the error that it gave.
        where: file and place, for messages.
        images: the folder that the record's image is relative to.

    Raises:
        DataError: names the place, the record's id, what was found and what was expected.
    """
    if isinstance(value, DataError):
        raise value
    for fault in faults_in(value):
        raise DataError(record_place(value, where) + fault.what, fault.fix)
    names = images_of(value)
    texts = [turn["value"] for turn in value["conversations"]]
    key = _id_of(value) or f"#{where.rsplit(maxsplit=1)[-1]}"
    if len(names) == 1 and IMAGE_MARK in texts[0]:
        texts[0] = texts[0].replace(IMAGE_MARK, "").strip()
        return Record(key, images / names[0], _turns(texts))
    turns = tuple(_placed(turn) for turn in _turns(texts))
    return Record(key, None, turns, tuple(images / name for name in names))


def _turns(texts: list[str]) -> tuple[Turn, ...]:
    return tuple(Turn(texts[i], texts[i + 1]) for i in range(0, len(texts), 2))


def _placed(turn: Turn) -> Turn:
    """Return a turn whose question's marks are places: a line break behind a mark belongs to it."""
    first, *behind = turn.question.split(IMAGE_MARK)
    texts = [first, *(text.removeprefix("\n") for text in behind)]
    places = tuple(itertools.accumulate(map(len, texts[:-1])))
    return Turn("".join(texts), turn.answer, places)


def with_marks(turn: Turn) -> str:
    """Return a question with a mark, and a line break, where its pictures are."""
    return f"{IMAGE_MARK}\n".join(turn.texts)


def record_place(value: Any, where: str) -> str:
    """Return `where` with the id of the record, if it has one."""
    key = _id_of(value)
    return f"{where} (id {shown(key)})" if key else where


def _id_of(value: Any) -> str:
    key = value.get("id") if isinstance(value, dict) else None
    return "" if key is None else str(key)
