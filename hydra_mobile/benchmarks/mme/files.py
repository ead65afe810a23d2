"""MME's files: the release with its folders, LLaVA's questions, and the official tool's results.

Nothing here scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hydra_mobile.benchmarks.shared.answer_files import read_json_lines, read_text
from hydra_mobile.benchmarks.types import SHORT_ANSWER
from hydra_mobile.core.errors import DataError

#: Subtask -> number of questions in the release, two to a picture.
PERCEPTION = {
    "existence": 60,
    "count": 60,
    "position": 60,
    "color": 60,
    "posters": 294,
    "celebrity": 340,
    "scene": 400,
    "landmark": 400,
    "artwork": 400,
    "OCR": 40,
}
COGNITION = {
    "commonsense_reasoning": 140,
    "numerical_calculation": 40,
    "text_translation": 40,
    "code_reasoning": 40,
}
QUESTIONS = PERCEPTION | COGNITION
#: The end of every question in the release; LLaVA's file has its own suffix instead.
YES_OR_NO = "Please answer yes or no."
_PICTURES = (".jpg", ".png", ".jpeg", ".bmp", ".webp")
_FIELDS = "image, question, right answer, response"


def split_of(subtask: str) -> str:
    """Return the split of a subtask."""
    return "perception" if subtask in PERCEPTION else "cognition"


class Place(NamedTuple):
    """What identifies a question: MME's ids occur twice each."""

    subtask: str
    stem: str
    question: str

    @property
    def key(self) -> str:
        """The sample's key."""
        return "/".join(self)

    @property
    def picture(self) -> str:
        """The picture's name, equal for its two questions."""
        return f"{self.subtask}/{self.stem}"


@dataclass(frozen=True)
class Asked:
    """A question of LLaVA's file."""

    place: Place
    image: str
    text: str


@dataclass(frozen=True)
class Result:
    """A line of the official tool's results; `response` is None in its empty template."""

    file: Path
    line: int
    place: Place
    truth: str
    response: str | None

    @property
    def where(self) -> str:
        """The line, for messages."""
        return f"{self.file.name} line {self.line} ({self.place.picture})"


def place_of(image: str, question: str, subtask: str = "") -> Place:
    """Return what identifies a question, however its file writes it.

    Args:
        image: path inside the release, or, with `subtask`, a name alone. Its ending is dropped:
            LLaVA's converter writes the name of the text file.
        question: with any suffix; some have two spaces before "Please".
        subtask: empty to take the first folder of `image`.
    """
    parts = image.replace("\\", "/").split("/")
    text = " ".join(question.replace("<image>", " ").split())
    for suffix in (SHORT_ANSWER.strip(), YES_OR_NO):
        text = text.removesuffix(suffix).rstrip()
    return Place(subtask or parts[0], _stem(parts[-1]), text)


def read_questions(path: Path) -> list[Asked]:
    """Return the questions of `llava_mme.jsonl`.

    Raises:
        DataError: a line is no question, or names no subtask of MME.
    """
    asked = []
    for record in read_json_lines(path):
        image, text = record.id("image", "question_id"), record.value.get("text")
        if image is None or not isinstance(text, str):
            raise DataError(f"{path}, {record.where} has no `image` or no `text`.")
        place = place_of(image, text)
        if place.subtask not in QUESTIONS:
            raise DataError(
                f"{path}, {record.where}: {image} is in no subtask of MME.",
                f"Expected a path that begins with one of: {', '.join(QUESTIONS)}.",
            )
        asked.append(Asked(place, image, text))
    return asked


def is_release(folder: Path) -> bool:
    """Say whether a folder holds the subtasks of the release."""
    return any((folder / subtask).is_dir() for subtask in QUESTIONS)


def has_results(folder: Path) -> bool:
    """Say whether a folder holds the official tool's text files."""
    return any((folder / f"{subtask}.txt").is_file() for subtask in QUESTIONS)


def read_release(folder: Path) -> dict[Place, str]:
    """Return the release's right answers in lower case.

    Raises:
        DataError: a text file does not hold two lines `question<tab>Yes|No`.
    """
    found: dict[Place, str] = {}
    for subtask in QUESTIONS:
        inner = folder / subtask / "questions_answers_YN"
        for path in sorted((inner if inner.is_dir() else folder / subtask).glob("*.txt")):
            lines = [line.rstrip("\r") for line in read_text(path).split("\n") if line.strip()]
            if len(lines) != 2:
                raise DataError(
                    f"{path} has {len(lines)} questions; every image of MME has 2.",
                    "The release is cut short; download it again.",
                )
            for line in lines:
                question, tab, truth = line.partition("\t")
                if not tab or truth.strip().lower() not in ("yes", "no"):
                    raise DataError(
                        f"{path}: {line!r} is not a question, a tab and Yes or No.",
                        "Download the release again.",
                    )
                found[place_of(path.name, question, subtask)] = truth.strip().lower()
    return found


def read_results(path: Path) -> Iterator[Result]:
    """Yield the lines of a folder of `<subtask>.txt`, or of one such file.

    Raises:
        DataError: there is none, or a line has not three or four fields; names it.
    """
    files = [path] if path.is_file() else [path / f"{subtask}.txt" for subtask in QUESTIONS]
    there = [file for file in files if file.is_file() and file.stem in QUESTIONS]
    if not there:
        raise DataError(
            f"{path} holds no results of MME.",
            f"Expected text files with the names of the subtasks: {', '.join(QUESTIONS)}.",
        )
    for file in there:
        # Only line feeds end a line, and only at the end may lines be empty.
        for number, line in enumerate(read_text(file).rstrip("\r\n").split("\n"), 1):
            fields = line.removesuffix("\r").split("\t")
            if len(fields) not in (3, 4) or fields[2].strip().lower() not in ("yes", "no"):
                raise DataError(
                    f"{file}, line {number} has {len(fields)} fields between tabs, expected 4 "
                    f"({_FIELDS}, the third Yes or No): {line[:80]!r}.",
                    "Line ends and tabs inside a response must be written as spaces: the "
                    "official tool stops at such a line too.",
                )
            place = place_of(fields[0], fields[1], file.stem)
            response = fields[3] if len(fields) == 4 else None
            yield Result(file, number, place, fields[2].strip().lower(), response)


def find_picture(folder: Path, place: Place) -> Path:
    """Return the picture of a question in the release, or, if it is missing, where it belongs."""
    inner = folder / place.subtask / "images"
    home = inner if inner.is_dir() else folder / place.subtask
    for ending in _PICTURES:
        if (home / f"{place.stem}{ending}").is_file():
            return home / f"{place.stem}{ending}"
    return home / f"{place.stem}.jpg"


def _stem(name: str) -> str:
    ending = name[name.rfind(".") :].lower() if "." in name else ""
    return name[: -len(ending)] if ending in (*_PICTURES, ".txt") else name
