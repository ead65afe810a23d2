"""TextVQA's files: the annotations, LLaVA's prompts with OCR tokens, Rosetta's tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.shared.answer_files import read_json_file, read_json_lines
from hydra_mobile.benchmarks.shared.locate import DataRoots
from hydra_mobile.benchmarks.textvqa.m4c import normalize
from hydra_mobile.benchmarks.types import Sample
from hydra_mobile.core.errors import DataError

SPLITS = ("val", "test", "train")
_TOKENS = "Reference OCR token: "
_PEOPLE = 10
#: A form of the official reader's (LLaVA 1.0): the question stands between two marks.
_OLD_FORM = re.compile(r"OCR tokens: .*?Question: (.*?) Short answer:", re.DOTALL)


def prompt_of(question: str, tokens: Sequence[str] | None) -> str:
    """Return LLaVA's prompt without the suffix.

    Args:
        question: as the annotations have it; `capitalize` lowers all but its first letter.
        tokens: what OCR read in the picture; None to leave the line out.
    """
    asked = question.capitalize()
    return asked if tokens is None else f"{asked}\n{_TOKENS}{', '.join(tokens)}"


def question_in(prompt: str) -> str | None:
    """Return the question of a prompt, lower-case, as the official reader finds it; None if not."""
    old = _OLD_FORM.match(prompt)
    if old:
        return old.group(1).lower()
    lines = prompt.split("\n")
    if _TOKENS in prompt and len(lines) == 3:
        return lines[1 if prompt.startswith(_TOKENS.rstrip()) else 0].lower()
    return lines[0].lower() if len(lines) == 2 else None


def has_tokens(prompt: str) -> bool:
    """Say whether a prompt gives OCR tokens, or the line for them."""
    return _TOKENS.strip() in prompt or prompt.startswith("OCR tokens:")


def find_annotations(places: DataRoots) -> dict[str, Path]:
    """Return split -> file of annotations of those that are there, `val` first."""
    if places.file is not None:
        name = places.file.name
        return {next((split for split in SPLITS if split in name), "val"): places.file}
    found = {}
    for split in SPLITS:
        path = places.find(f"TextVQA_0.5.1_{split}.json") or _other(places, split)
        if path is not None:
            found[split] = path
    return found


def _other(places: DataRoots, split: str) -> Path | None:
    """Return the annotations of another version, or under a longer name."""
    for folder in places.folders:
        paths = sorted(folder.glob(f"TextVQA_*{split}*.json"))
        paths = [path for path in paths if "OCR" not in path.name]
        if paths:
            return paths[0]
    return None


def read_prompts(path: Path) -> dict[tuple[str, str], str]:
    """Read LLaVA's file of questions: (image id, question in lower case) -> prompt.

    Raises:
        DataError: it is missing, or a prompt has not the official form.
    """
    prompts = {}
    for record in read_json_lines(path):
        text = record.text("text")
        question = question_in(text)
        if question is None:
            raise DataError(
                f"{record.file}, {record.where}: expected a question, its OCR tokens and the "
                f"suffix on a line each, found {text[:80]!r}."
            )
        prompts[(record.id() or "", question)] = text
    return prompts


def read_tokens(path: Path) -> dict[str, list[str]]:
    """Read Rosetta's tokens, the official JSON or one object a line: image id -> tokens.

    Raises:
        DataError: it is missing, or an entry has no tokens.
    """
    lines = path.suffix == ".jsonl"
    entries = [record.value for record in read_json_lines(path)] if lines else read_entries(path)
    try:
        return {str(entry["image_id"]): list(entry["ocr_tokens"]) for entry in entries}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is no file of OCR tokens: {error!r}.") from error


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Return the list under `data` of an official JSON file.

    Raises:
        DataError: it is missing, no JSON, or holds no such list.
    """
    value = read_json_file(path)
    entries = value.get("data") if isinstance(value, dict) else value
    if not isinstance(entries, list) or not entries:
        raise DataError(
            f"{path} holds no questions: expected an object with a list under `data`.",
            "Download TextVQA_0.5.1_val.json again.",
        )
    return entries


def read_samples(path: Path, split: str, pictures: Path) -> Iterator[Sample]:
    """Yield the questions of a file of annotations, those of a picture beside each other.

    Raises:
        DataError: a question lacks a field, or has answers but not ten.
    """
    by_image: dict[str, list[Sample]] = {}
    for number, entry in enumerate(read_entries(path), 1):
        sample = _sample(entry, split, pictures, f"{path}, question {number}")
        by_image.setdefault(sample.cluster, []).append(sample)
    for samples in by_image.values():
        yield from samples


def _sample(entry: Mapping[str, Any], split: str, pictures: Path, where: str) -> Sample:
    try:
        image, question = str(entry["image_id"]), str(entry["question"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{where} lacks the field {error}.", "Download the file again.") from error
    number = str(entry.get("question_id", f"{image}/{question.lower()}"))
    people = entry.get("answers") or []
    if not isinstance(people, list):
        raise DataError(f"{where} has the answers {people!r}: expected a list of {_PEOPLE} texts.")
    given = [str(answer) for answer in people]
    if len(given) not in (0, _PEOPLE):
        raise DataError(
            f"{where} (question_id {number}) has {len(given)} answers: the metric is defined for "
            f"{_PEOPLE}.",
            "Download the file again.",
        )
    common = Counter(normalize(answer) for answer in given)
    return Sample(
        key=number,
        image=FilePicture(pictures / f"{image}.jpg"),
        question=question,
        split=split,
        kind="open",
        reference=max(given, key=lambda answer: common[normalize(answer)], default=""),
        cluster=image,
        # LLaVA names a question by its image.
        meta={"question_id": image, "number": number, "answers": given},
    )
