"""LLaVA training records: a list of conversations, each with at most one picture.

Reads the json that LLaVA and MobileVLM train on (a list of records) and the same as jsonl (one
record a line), one record at a time. Strict: a record that a trainer would have to guess about is
refused, by file, place and id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.json_stream import JsonRecords
from hydra_mobile.data.validate import IMAGE_MARK, faults_in
from hydra_mobile.models.templates import Turn


@dataclass(frozen=True)
class Record:
    """One conversation.

    Attributes:
        id: as in the file, or "#index" when the record has none.
        image: the picture's path, joined to the image folder; None for a text-only record.
        turns: at least one, with the text that the file has. Only the first question about a
            picture differs: it lacks the image mark and the white space around itself.
    """

    id: str
    image: Path | None
    turns: tuple[Turn, ...]


def read_llava(path: Path, images: Path | None = None) -> list[Record]:
    """Read a LLaVA json or jsonl file at once.

    Args:
        path: the file; its name ends in .jsonl when it has one record a line.
        images: the folder that record paths are relative to; None for the file's own folder.

    Raises:
        DataError: as `iter_llava`, or the file holds no records.
    """
    records = list(iter_llava(path, images))
    if not records:
        raise DataError(f"{path} holds no records.", "A training file needs at least one.")
    return records


def iter_llava(path: Path, images: Path | None = None) -> Iterator[Record]:
    """Read a LLaVA json or jsonl file record by record, in the memory of one.

    Args:
        path: the file; its name ends in .jsonl when it has one record a line.
        images: the folder that record paths are relative to; None for the file's own folder.

    Raises:
        DataError: the file is missing, no JSON or cut short, or a record is not as expected.
    """
    folder = path.parent if images is None else images
    for _, where, value in JsonRecords(path):
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
    image = value.get("image")
    texts = [turn["value"] for turn in value["conversations"]]
    if image is not None:
        texts[0] = texts[0].replace(IMAGE_MARK, "").strip()
    return Record(
        _id_of(value) or f"#{where.rsplit(maxsplit=1)[-1]}",
        None if image is None else images / image,
        tuple(Turn(*texts[i : i + 2]) for i in range(0, len(texts), 2)),
    )


def record_place(value: Any, where: str) -> str:
    """Return `where` with the id of the record, if it has one."""
    key = _id_of(value)
    return f"{where} (id {key!r})" if key else where


def _id_of(value: Any) -> str:
    key = value.get("id") if isinstance(value, dict) else None
    return "" if key is None else str(key)


def open_image(path: Path, record_id: str = "") -> Image.Image:
    """Return the picture at `path`, fully read, as RGB.

    Raises:
        DataError: it is missing, cut short or no picture; names it and the record.
    """
    of_record = f" (record {record_id!r})" if record_id else ""
    try:
        with Image.open(path) as picture:
            return as_rgb(picture)
    except FileNotFoundError:
        raise DataError(
            f"The picture {path}{of_record} does not exist.",
            "Check the path, and the image folder that it is relative to.",
        ) from None
    except IsADirectoryError:
        raise DataError(f"{path}{of_record} is a folder: expected a picture.") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"The picture {path}{of_record} cannot be read: {error}.",
            "The file is cut short or no picture; replace it.",
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(f"The picture {path}{of_record} is too large: {error}.") from error


def as_rgb(picture: Image.Image) -> Image.Image:
    """Return an open picture, fully read, as RGB.

    Transparent pixels carry arbitrary colors: they are shown on white, as viewers do.
    """
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")
