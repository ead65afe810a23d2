"""Lines of a test set of one's own: what they may hold, and what is wrong with one that does not.

Fields by their most usual name, with others that data sets have:

    question            what is asked; also `text`, `prompt`
    image               file, relative to the test set's folder; also `picture`, `image_path`
    answer, answers     the accepted answer or answers, texts or numbers
    choices             texts of A, B, ... of a question with options; also `options`
    kind                topic, for scores by kind; also `category`
    score               how this question is scored
    id                  its name; also `question_id`, `key`

Other fields are left alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from hydra_mobile.benchmarks.items import Item, letter_of
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.scoring import SCORES
from hydra_mobile.benchmarks.shared.answer_files import Record, read_objects
from hydra_mobile.core.boundaries import shown
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.registry import nearest

_NAMES = {
    "question": ("question", "text", "prompt"),
    "image": ("image", "picture", "image_path"),
    "answers": ("answers", "answer"),
    "choices": ("choices", "options"),
    "kind": ("kind", "category"),
    "score": ("score",),
    "id": ("id", "question_id", "key"),
}
_MISSING = object()
_EXAMPLE = '{"question": "What does the sign say?", "image": "sign.jpg", "answer": "stop"}'


def read_items(path: Path, score: str, beside: Path) -> Iterator[Item]:
    """Yield the questions of a test set.

    Args:
        path: jsonl, or a JSON list.
        score: how questions without options are scored that do not say so; "" for "exact".
        beside: a second folder in which images are looked for.

    Raises:
        DataError: a line is not readable, or lacks what it needs; names file and line.
    """
    keys: dict[str, str] = {}
    for record in read_objects(path):
        item = _item(record, score, beside)
        if item.key in keys:
            raise _wrong(
                record,
                f"`id` {shown(item.key)}, which {keys[item.key]} has too",
                "an id of its own for every question",
                "Give every question another `id`, or none: its line is then its name.",
            )
        keys[item.key] = record.where
        yield item
    if not keys:
        raise DataError(
            "the test set holds no question", f"Write a line for each: {_EXAMPLE}", where=str(path)
        )


def _item(record: Record, score: str, beside: Path) -> Item:
    question = _text(record, "question")
    if not question.strip():
        raise _wrong(record, "an empty question", "a question", f"For example: {_EXAMPLE}")
    options = _texts(record, "choices")
    if len(options) == 1 or len(options) > len(ascii_uppercase):
        raise _wrong(
            record, f"{len(options)} choices", "2 to 26", "Give all options, or no `choices`."
        )
    if len(set(options)) < len(options) or not all(option.strip() for option in options):
        raise _wrong(
            record,
            f"the choices {', '.join(map(shown, options))}",
            "texts that differ",
            "Which of two equal ones is meant, no answer can say.",
        )
    name = _text(record, "score", "") or ("choice" if options else score or "exact")
    if name not in SCORES:
        raise _wrong(record, f"`score` {shown(name)}", "a score", nearest(name, SCORES))
    answers = _texts(record, "answers")
    asks = SCORES[name].asks
    if not any(answer.strip() for answer in answers):
        fix = f"For example: {_EXAMPLE}"
        raise _wrong(record, "no answer", "`answer`, or a list `answers`", fix)
    if asks == "choice" and (not options or not letter_of(answers[0].strip(), options)):
        raise _wrong(
            record,
            f"answer {shown(answers[0])} to {', '.join(map(shown, options)) or 'no choices'}",
            "`choices`, and the letter or the text of one of them",
            'For example: "choices": ["red", "blue"], "answer": "B"',
        )
    if asks == "yesno" and answers[0].strip().lower() not in ("yes", "no"):
        raise _wrong(record, f"answer {shown(answers[0])}", "yes or no", 'Or another "score".')
    number = record.where.split(" (")[0].split()[-1]
    return Item(
        question=question,
        answers=answers,
        image=_picture(record, beside),
        kind=_text(record, "kind", "all") or "all",
        options=options,
        score=name,
        key=_text(record, "id", "") or f"line-{number}",
    )


def _picture(record: Record, beside: Path) -> FilePicture | None:
    name = _text(record, "image", "")
    if not name:
        return None
    own = record.file.parent / name
    other = beside / name
    # Not `Path.is_file`, which raises for names of thousands of characters.
    if not os.path.isfile(own) and os.path.isfile(other):
        return FilePicture(other)
    return FilePicture(own)


def _found(record: Record, field: str) -> Any:
    for name in _NAMES[field]:
        if record.value.get(name) is not None:
            return record.value[name]
    return _MISSING


def _text(record: Record, field: str, default: str | None = None) -> str:
    found = _found(record, field)
    if found is _MISSING:
        if default is not None:
            return default
        raise _wrong(
            record,
            f"the fields {shown(', '.join(record.value))}",
            f"the field `{field}`",
            f"For example: {_EXAMPLE}",
        )
    if not _is_text(found):
        fix = "One image a question." if field == "image" else f"For example: {_EXAMPLE}"
        raise _wrong(record, f"`{field}` {shown(found)}", "a text", fix)
    return str(found)


def _texts(record: Record, field: str) -> tuple[str, ...]:
    found = _found(record, field)
    if found is _MISSING:
        return ()
    texts = found if isinstance(found, list) else [found]
    for text in texts:
        if not _is_text(text):
            fix = 'For example: "answers": ["stop", "a stop sign"]'
            raise _wrong(record, f"`{field}` with {shown(text)}", "texts or numbers", fix)
    return tuple(str(text) for text in texts)


def _is_text(value: Any) -> bool:
    """Whether a value is a finite number, or a text without halves of surrogate pairs.

    The latter are no characters: no tokenizer takes them, no file of answers holds them.
    """
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(record: Record, found: str, expected: str, fix: str) -> DataError:
    return DataError(
        "a question of the test set cannot be used",
        fix,
        where=f"{record.file}, {record.where}",
        found=found,
        expected=expected,
    )
