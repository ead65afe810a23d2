"""LLaVA training records: a list of conversations, each with at most one picture.

Reads the json that LLaVA and MobileVLM train on (a list of records) and the same as jsonl (one
record a line). Strict: a record that a trainer would have to guess about is refused, by file,
place and id. Knows nothing of tokens or templates; used by the trainer and by whoever checks data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from hydra_mobile.data.templates import Turn
from hydra_mobile.errors import DataError

IMAGE_MARK = "<image>"


@dataclass(frozen=True)
class Record:
    """One conversation.

    Attributes:
        id: as in the file, or "#index" when the record has none.
        image: the picture's path, joined to the image folder; None for a text-only record.
        turns: at least one, without the image mark.
    """

    id: str
    image: Path | None
    turns: tuple[Turn, ...]


def read_llava(path: Path, images: Path | None = None) -> list[Record]:
    """Read a LLaVA json or jsonl file.

    Args:
        path: the file; its name ends in .jsonl when it has one record a line.
        images: the folder that record paths are relative to; None for the file's own folder.

    Raises:
        DataError: the file is missing or no JSON, or a record is not as expected.
    """
    folder = path.parent if images is None else images
    records = [parse_record(value, where, folder) for where, value in _values(path)]
    if not records:
        raise DataError(f"{path} holds no records.", "A training file needs at least one.")
    return records


def _values(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (place, decoded value) for every record; jsonl is read line by line."""
    try:
        if path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as handle:
                for number, line in enumerate(handle, 1):
                    if line.strip():
                        yield f"{path}, line {number}", _decode(line, f"{path}, line {number}")
            return
        value = _decode(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", "Check the path of the data file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    if not isinstance(value, list):
        raise DataError(
            f"{path} holds {_describe(value)}: expected a list of records.",
            "A file with one record a line must be named .jsonl.",
        )
    for index, record in enumerate(value):
        yield f"{path}, record {index}", record


def _decode(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where} is not JSON: {error}.",
            "The file was cut short or altered; make or download it again.",
        ) from error


def parse_record(value: Any, where: str, images: Path) -> Record:
    """Turn one decoded record into a `Record`.

    Args:
        value: what JSON gave.
        where: file and place, for messages.
        images: the folder that the record's image is relative to.

    Raises:
        DataError: names the place, the record's id, what was found and what was expected.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where} is {_describe(value)}: expected an object.")
    key = str(value.get("id", ""))
    where += f" (id {key!r})" if key else ""
    if "conversations" not in value:
        found = ", ".join(map(str, value)) or "none"
        raise DataError(
            f"{where} has no `conversations`; its keys are: {found}.",
            "Each record needs `conversations`, a list of turns with `from` and `value`.",
        )
    image = value.get("image")
    if image is not None and (not isinstance(image, str) or not image):
        raise DataError(f"{where}: `image` is {_describe(image)}: expected a path or no key.")
    turns = _turns(value["conversations"], where, has_image=image is not None)
    return Record(
        key or f"#{where.rsplit(maxsplit=1)[-1]}", None if image is None else images / image, turns
    )


def _turns(value: Any, where: str, *, has_image: bool) -> tuple[Turn, ...]:
    if not isinstance(value, list) or not value:
        raise DataError(
            f"{where}: `conversations` is {_describe(value)}: expected a list of turns.",
            'A turn is {"from": "human", "value": "..."} or {"from": "gpt", "value": "..."}.',
        )
    texts = [
        _turn(turn, ("human", "gpt")[index % 2], f"{where}, turn {index}")
        for index, turn in enumerate(value)
    ]
    if len(texts) % 2:
        raise DataError(f"{where}: the last turn is a question: expected an answer after it.")
    _check_marks(texts, where, has_image=has_image)
    texts[0] = texts[0].replace(IMAGE_MARK, "").strip()
    return tuple(Turn(*texts[i : i + 2]) for i in range(0, len(texts), 2))


def _turn(turn: Any, role: str, where: str) -> str:
    if not isinstance(turn, dict) or not {"from", "value"} <= turn.keys():
        raise DataError(f"{where} is {_describe(turn)}: expected `from` and `value`.")
    if turn["from"] != role:
        raise DataError(
            f"{where} is from {turn['from']!r}: expected {role!r}.",
            "Turns alternate, human first.",
        )
    text = turn["value"]
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where} is empty ({text!r}): expected text.")
    return text.strip()


def _check_marks(texts: list[str], where: str, *, has_image: bool) -> None:
    marks = [text.count(IMAGE_MARK) for text in texts]
    if has_image and not any(marks):
        raise DataError(
            f"{where} has an `image` but no {IMAGE_MARK} in its first turn.",
            f"Put {IMAGE_MARK} where the picture belongs, or remove `image`.",
        )
    if not has_image and any(marks):
        raise DataError(
            f"{where} says {IMAGE_MARK} but has no `image`.",
            f"Add `image`, or remove {IMAGE_MARK} from the text.",
        )
    if sum(marks) > 1 or any(marks[1:]):
        raise DataError(
            f"{where} has {sum(marks)} {IMAGE_MARK} marks, in turns "
            f"{[i for i, count in enumerate(marks) if count]}: expected one, in turn 0.",
            "Records with several pictures are not supported.",
        )


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {', '.join(map(str, value)) or 'none'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def open_image(path: Path, record_id: str = "") -> Image.Image:
    """Return the picture at `path`, fully read, as RGB.

    Raises:
        DataError: it is missing, cut short or no picture; names it and the record.
    """
    of_record = f" (record {record_id!r})" if record_id else ""
    try:
        with Image.open(path) as picture:
            # Transparent pixels carry arbitrary colours: show them on white, as viewers do.
            if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
                white = Image.new("RGBA", picture.size, "white")
                return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
            return picture.convert("RGB")
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
