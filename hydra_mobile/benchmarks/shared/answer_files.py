"""Answers files as they are found in the field: jsonl, and JSON lists.

A broken line is refused by file and number: what cannot be read must not silently become a smaller
benchmark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.json_text import loads

_CUT_SHORT = "The file was cut short or altered; copy it again, or mend that line."
_SUFFIXES = (
    "answer the question using a single word or phrase.",
    "answer with the option's letter from the given choices directly.",
    "please answer yes or no.",
)


@dataclass(frozen=True)
class Record:
    """One record of a file.

    Attributes:
        file: the file.
        where: the place in it, for messages: "line 3 (question_id 7)".
        value: its fields.
    """

    file: Path
    where: str
    value: dict[str, Any]

    def text(self, *fields: str) -> str:
        """Return the answer: the first of `fields` that is there.

        Raises:
            DataError: there is none, or it is no text.
        """
        for name in fields:
            if name in self.value:
                found = self.value[name]
                if isinstance(found, str):
                    return found
                if isinstance(found, (int, float)) and not isinstance(found, bool):
                    return str(found)
                raise DataError(
                    f"{self.file}, {self.where}: `{name}` is {found!r}, expected the answer's text."
                )
        raise DataError(
            f"{self.file}, {self.where} holds no answer: expected the field "
            f"{' or '.join(f'`{name}`' for name in fields)}, found {', '.join(self.value)}."
        )

    def id(self, *fields: str) -> str | None:
        """Return the first of `fields` (default `question_id`) as text; None if there is none."""
        for name in fields or ("question_id",):
            found = self.value.get(name)
            if found is not None:
                # What passed through a table of numbers comes back as 7001.0.
                whole = isinstance(found, float) and found.is_integer()
                return str(int(found) if whole else found)
        return None

    @property
    def prompt(self) -> str | None:
        """What was asked, if the record says so."""
        for name in ("prompt", "question"):
            if isinstance(self.value.get(name), str):
                return str(self.value[name])
        return None


def read_records(path: Path) -> list[Record]:
    """Return the records of a jsonl file, or of a JSON file that holds a list of objects.

    Raises:
        DataError: the file is missing, is no JSON, holds something else, or is a file of questions
            (which, read as answers, would get a score too).
    """
    records = list(read_objects(path))
    if records and all(_is_question(record.value) for record in records):
        raise DataError(
            f"{path} holds questions, not answers: its lines have `category` and no `prompt`.",
            "Give the file that the model's answers were written to.",
        )
    return records


def read_text(path: Path) -> str:
    """Return a text file; its line ends stay as they are.

    Raises:
        DataError: it is missing, a folder or no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: expected a file.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: {error}.") from error


def read_json_file(path: Path) -> Any:
    """Return what a JSON file of the official data holds.

    Raises:
        DataError: it is missing or no JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}.", _CUT_SHORT) from error


def read_json_lines(path: Path) -> Iterator[Record]:
    """Yield the objects of a jsonl file.

    Raises:
        DataError: the file is missing or a line is no JSON object; names the line.
    """
    # Only line feeds end a line: answers may hold the other characters that Python splits at.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            try:
                value = loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{path}, line {number} is not readable JSON: {error}.", _CUT_SHORT
                ) from error
            yield _record(path, f"line {number}", value)


def read_objects(path: Path) -> Iterator[Record]:
    """Yield the objects of a jsonl file, or of a JSON file that holds a list of them.

    Raises:
        DataError: the file is missing, is no JSON, or holds something else; names the place.
    """
    if not read_text(path).lstrip().startswith("["):
        yield from read_json_lines(path)
        return
    try:
        values = loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}.", _CUT_SHORT) from error
    for number, value in enumerate(values, 1):
        yield _record(path, f"entry {number}", value)


def bare(prompt: str) -> str:
    """Return what a prompt asks: one line, lower-case, without picture mark and known suffixes.

    For comparisons only: whitespace, case and the way of asking differ between tools.
    """
    text = " ".join(prompt.replace("<image>", " ").lower().split())
    for suffix in _SUFFIXES:
        text = text.removesuffix(suffix).rstrip()
    return text


def asks(prompt: str, question: str) -> bool:
    """Say whether a prompt asks that question, whatever stands around it."""
    wanted = re.escape(bare(question))
    return re.search(rf"(?<!\w){wanted}(?!\w)", bare(prompt)) is not None


def _record(path: Path, where: str, value: Any) -> Record:
    if not isinstance(value, dict):
        raise DataError(
            f"{path}, {where} is {type(value).__name__}: expected an object.", _CUT_SHORT
        )
    for name in ("key", "question_id", "questionId"):
        if name in value:
            # An id may be of any length.
            return Record(path, f"{where} ({name} {str(value[name])[:60]})", value)
    return Record(path, where, value)


def _is_question(value: dict[str, Any]) -> bool:
    return {"image", "text", "category"} <= set(value) and "prompt" not in value
