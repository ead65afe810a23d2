"""ScienceQA's files: problems, splits, and LLaVA's conversations made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.shared.answer_files import read_json_file
from hydra_mobile.core.errors import DataError

LETTERS = "ABCDE"
_MEND = "Download the file again."


@dataclass(frozen=True)
class Problem:
    """One question.

    Attributes:
        question: alone, without hint and choices.
        prompt: hint, question and choices, without picture mark and suffix.
        choices: how many there are.
        letter: the right one.
        image: name of the picture's file in the problem's folder; "" without one.
        split: train, val or test.
        subject: natural, social or language science.
        grade: 1 to 12; 0 where the file does not say.
        has_hint: whether a text comes with the question; None where the file does not say.
        stem: the question alone; of LLaVA's file with the hint, which cannot be told apart.
        hint: the text; "" without one.
        options: texts of the choices.
        category: of the question's topic.
    """

    question: str
    prompt: str
    choices: int
    letter: str
    image: str
    split: str
    subject: str = ""
    grade: int = 0
    has_hint: bool | None = None
    stem: str = ""
    hint: str = ""
    options: tuple[str, ...] = ()
    category: str = ""


def prompt_of(question: str, hint: str, choices: list[str]) -> str:
    """Return LLaVA's prompt without picture mark and suffix."""
    context = f"Context: {hint.strip()}\n" if hint.strip() else ""
    lettered = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    return (context + "\n".join([question, *lettered])).strip()


def read_problems(path: Path) -> dict[str, Problem]:
    """Read problems.json: id -> problem.

    Raises:
        DataError: it is missing, no JSON, or a problem lacks a field; names the problem.
    """
    return {key: _problem(value, f"{path}, problem {key}") for key, value in _object(path).items()}


def read_splits(path: Path, problems: Mapping[str, Problem]) -> dict[str, list[str]]:
    """Read pid_splits.json: split -> ids.

    Only splits whose questions all are in `problems` are returned, besides `test`.

    Raises:
        DataError: it is missing or no JSON, or a question of `test` is not in `problems`.
    """
    value = _object(path)
    odd = [name for name, keys in value.items() if not isinstance(keys, list)]
    if odd:
        raise DataError(f"{path}: `{odd[0]}` is {value[odd[0]]!r}, expected a list of ids.", _MEND)
    splits = {name: [str(key) for key in keys] for name, keys in value.items()}
    lost = [key for key in splits.get("test", ()) if key not in problems]
    if "test" not in splits or lost:
        raise DataError(
            f"{path} names {len(lost)} questions in `test` that the problems lack "
            f"({', '.join(lost[:3])})."
            if lost
            else f"{path} has no split `test`: found {', '.join(splits)}.",
            "Take problems.json and pid_splits.json from the same release.",
        )
    return {
        name: keys for name, keys in splits.items() if all(key in problems for key in keys) and keys
    } | {"test": splits["test"]}


def count_test(path: Path) -> int:
    """Return how many questions pid_splits.json has in `test`.

    Raises:
        DataError: it is missing or no JSON.
    """
    return len(_object(path).get("test", ()))


def read_llava(path: Path) -> dict[str, Problem]:
    """Read LLaVA's conversations: id -> problem, with the prompt byte for byte.

    Raises:
        DataError: it is missing, no JSON, or a record is not as expected; names the record.
    """
    records = read_json_file(path)
    if not isinstance(records, list):
        raise DataError(f"{path} holds {type(records).__name__}: expected a list.", _MEND)
    found = {}
    for number, record in enumerate(records, 1):
        where = f"{path}, record {number}"
        try:
            asked, answer = record["conversations"]
            prompt = str(asked["value"]).replace("<image>", "").strip()
            letter = str(answer["value"]).strip()
            stem, *options = _parts(prompt)
            image = Path(record["image"]).name if record.get("image") else ""
            found[str(record["id"])] = Problem(
                question=prompt,
                prompt=prompt,
                choices=max(len(options), LETTERS.find(letter[:1]) + 1),
                letter=letter,
                image=image,
                split="test",
                stem=stem,
                options=tuple(options),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{where} is not a question and its letter: {error!r}.", _MEND
            ) from error
    return found


def _problem(value: Mapping[str, Any], where: str) -> Problem:
    try:
        question, choices = str(value["question"]), [str(choice) for choice in value["choices"]]
        answer = int(value["answer"])
        hint = str(value.get("hint") or "")
        grade = re.search(r"\d+", str(value.get("grade") or ""))
        if not 0 <= answer < len(choices) <= len(LETTERS):
            raise DataError(
                f"{where} has answer {answer} of {len(choices)} choices: expected 2 to "
                f"{len(LETTERS)} choices and one of them.",
                _MEND,
            )
        return Problem(
            question=question,
            prompt=prompt_of(question, hint, choices),
            choices=len(choices),
            letter=LETTERS[answer],
            image=str(value.get("image") or ""),
            split=str(value.get("split") or ""),
            subject=str(value.get("subject") or ""),
            grade=int(grade.group()) if grade else 0,
            has_hint=bool(hint.strip()),
            stem=question,
            hint=hint,
            options=tuple(choices),
            category=str(value.get("category") or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where} is not as expected: {error!r}.", _MEND) from error


def _parts(prompt: str) -> list[str]:
    """Return what stands before the choices, and each choice, which may run over several lines."""
    parts, rest = [], prompt
    for letter in LETTERS:
        part, mark, after = rest.partition(f"\n{letter}. ")
        if not mark:
            break
        parts.append(part)
        rest = after
    return [*parts, rest]


def _object(path: Path) -> dict[str, Any]:
    value = read_json_file(path)
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}: expected an object.", _MEND)
    return value
