"""Questions as a model gets them: a prompt and a picture, without what scoring needs.

The process that reads a benchmark writes its questions to a file once; those that answer read it
and open neither the benchmark's files nor its code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.pictures import FilePicture, Picture
from hydra_mobile.benchmarks.types import Sample
from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.json_text import dumps, loads


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        index: its place in the benchmark.
        key: names it.
        text: what a user would type, without the prompt template.
        image: its picture; None without one.
    """

    index: int
    key: str
    text: str
    image: Picture | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        image: dict[str, Any] | None = None
        if isinstance(self.image, FilePicture):
            image = {"path": str(self.image.path.absolute())}
        return {"index": self.index, "key": self.key, "text": self.text, "image": image}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Question:
        """Read what `to_dict` returned."""
        image: Picture | None = None
        if found := value["image"]:
            image = FilePicture(Path(found["path"]))
        return cls(value["index"], value["key"], value["text"], image)


def questions_of(benchmark: Benchmark, samples: Sequence[Sample]) -> list[Question]:
    """Return the questions of samples, in their order."""
    return [
        Question(index, sample.key, benchmark.prompt(sample), sample.image)
        for index, sample in enumerate(samples)
    ]


def picture_groups(questions: Iterable[Question]) -> list[list[Question]]:
    """Return questions by picture, in the order of the first about each; one without is alone."""
    groups: dict[str | int, list[Question]] = {}
    for question in questions:
        key = question.image.key if question.image else question.index
        groups.setdefault(key, []).append(question)
    return list(groups.values())


def write_questions(file: Path, questions: Iterable[Question]) -> None:
    """Write questions as JSON lines, atomically."""
    with write_atomically(file) as temporary, temporary.open("w", encoding="utf-8") as out:
        for question in questions:
            out.write(dumps(question.to_dict(), ensure_ascii=False) + "\n")


def read_questions(file: Path) -> Iterator[Question]:
    """Yield the questions of a file that `write_questions` wrote."""
    # Not str.splitlines: JSON keeps line ends of other alphabets inside of its texts.
    with file.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield Question.from_dict(loads(line))
