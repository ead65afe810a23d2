"""POPE's files: the annotations of three splits, and LLaVA's questions with ids of their own."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from hydra_mobile.benchmarks.shared.answer_files import Record, read_json_lines, read_objects
from hydra_mobile.benchmarks.shared.locate import DataRoots
from hydra_mobile.benchmarks.types import SHORT_ANSWER
from hydra_mobile.core.errors import DataError

SPLITS = ("random", "popular", "adversarial")
QUESTIONS = "llava_pope_test.jsonl"


class Question(NamedTuple):
    """What identifies a question: its ids differ from file to file."""

    split: str
    image: str
    text: str

    @property
    def key(self) -> str:
        """The sample's key, equal in both spellings and with or without the suffix."""
        return f"{self.split}/{self.image}/{spelled(self.text.removesuffix(SHORT_ANSWER))}"


class PopeData:
    """The files of one tree.

    Args:
        places: where the files are looked for.
    """

    def __init__(self, places: DataRoots) -> None:
        self.places = places

    def splits(self) -> tuple[str, ...]:
        """Return the splits that are there to be read."""
        if self.places.file is None:
            return SPLITS
        found = re.search("|".join(SPLITS), self.places.file.name)
        if found is None:
            raise DataError(
                f"{self.places.file} is no file of POPE's annotations: expected a name with "
                f"{', '.join(SPLITS)}.",
                "Give coco_pope_random.json or its siblings, or the folder `pope`.",
            )
        return (found.group(),)

    def sources(self) -> list[tuple[str, Path]]:
        """Return split and file of annotations for each split."""
        return [(split, self.annotations(split)) for split in self.splits()]

    def annotations(self, split: str) -> Path:
        """Return a split's file of annotations, found or expected."""
        name = f"coco_pope_{split}.json"
        return (
            self.places.file
            or self.places.find(*_homes(name))
            or self.places.expected(f"coco/{name}")
        )

    def lines(self, split: str) -> list[Record]:
        """Return the annotations of a split.

        Raises:
            DataError: the file is missing or broken.
        """
        name = f"coco_pope_{split}.json"
        path = self.places.file or self.places.require(
            *_homes(name), what="POPE's questions with their labels"
        )
        # Lines officially; copies made a list of them are read too.
        return list(read_objects(path))

    def question_file(self) -> Path | None:
        """Return LLaVA's file of questions; None where it is missing."""
        return self.places.find(QUESTIONS, above=True)

    @cached_property
    def questions(self) -> dict[str, Question]:
        """LLaVA's questions by id; none where the file is missing."""
        path = self.question_file()
        if path is None:
            return {}
        return {
            str(field(record, "question_id")): Question(
                str(field(record, "category")),
                str(field(record, "image")),
                str(field(record, "text")),
            )
            for record in read_json_lines(path)
        }

    def pictures(self) -> Path:
        """Return the folder of pictures, found or expected."""
        return self.places.find("val2014", above=True) or self.places.expected("val2014")


def spelled(text: str) -> str:
    """Return a question with the older annotations' spelling mended."""
    return text.replace("imange", "image")


def field(record: Record, name: str) -> Any:
    """Return a field of an official line.

    Raises:
        DataError: it is missing; names file and line.
    """
    try:
        return record.value[name]
    except KeyError:
        raise DataError(
            f"{record.file}, {record.where} has no `{name}`: found {', '.join(record.value)}.",
            "Download the file again.",
        ) from None


def _homes(name: str) -> tuple[str, ...]:
    return (f"coco/{name}", name, f"output/coco/{name}")
