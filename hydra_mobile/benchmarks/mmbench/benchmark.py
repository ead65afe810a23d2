"""The benchmark MMBench: multiple choice, each question asked in every rotation of its options.

Reads the official tables, whose pictures are base64 cells. A question counts only if all its
rotations are right (circular, the headline); the two easier numbers have their own names. A table
without answers (the test split) gives a submission and no accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra_mobile.benchmarks.base import (
    CHOICE,
    Benchmark,
    DataFile,
    Joined,
    Metric,
    Sample,
    check_complete,
)
from hydra_mobile.benchmarks.mmbench.answers import join_answers, write_answers
from hydra_mobile.benchmarks.mmbench.files import (
    Question,
    count_rows,
    has_answers,
    read_questions,
)
from hydra_mobile.benchmarks.mmbench.scores import circles, circular_as_vlmevalkit, numbers
from hydra_mobile.benchmarks.shared.choice_letters import read_option, read_option_vlmevalkit
from hydra_mobile.benchmarks.shared.xlsx import require_xlsx
from hydra_mobile.core.errors import DataError

#: The file that each protocol's authors score on, without its ending.
_FILES = {"llava-1.5": "mmbench_dev_20230712", "mobilevlm": "mmbench_dev_en_20231003"}
_OFFICIAL = {"mmbench_dev_20230712": (4377,)}


class MMBench(Benchmark):
    """Multiple-choice questions; splits are the tables, by their names without the ending."""

    name = "mmbench"
    title = "MMBench"
    about = "multiple choice, each question in every rotation of its options"
    primary = "circular accuracy: all rotations right"
    also = "first pass, per row; categories; tables without answers give the xlsx only"
    source = "https://github.com/open-compass/MMBench"
    licenses = MappingProxyType({"MMBench": "Apache-2.0"})
    folders = ("mmbench", "MMBench")
    columns = (
        *("question", "hint", *"ABCD", "answer", "category", "image_path"),
        *("source", "l2-category", "comment", "split"),
    )
    max_new_tokens = 1024
    suffix = CHOICE

    def __init__(self, data: Path, protocol: str = "") -> None:
        super().__init__(data, protocol)
        self._read: dict[str, list[Question]] = {}

    # -- questions --------------------------------------------------------------------------

    def splits(self) -> Sequence[str]:
        """Return the tables that are there."""
        there = self._tables()
        if not there:
            self.places.require(f"{_FILES[self.protocol]}.tsv", what="MMBench's questions")
        return list(there)

    def default_splits(self) -> Sequence[str]:
        """Return the protocol's own table.

        Raises:
            DataError: several tables are there and none is the protocol's own.
        """
        return (self._own(self._tables()),)

    def read(self, split: str) -> list[Sample]:
        """Return the rows of a table; see `Benchmark.read`."""
        return _samples(split, self._questions(self._tables()[split]))

    def table_cells(self, sample: Sample) -> dict[str, str]:
        """Return the row as its own table has it."""
        cells = sample.meta["cells"]
        return {name: cells[name] for name in cells if name not in ("index", "image")}

    def files(self) -> list[DataFile]:
        """Return the tables; the protocol's own one is required, or any where that is missing."""
        there = self._tables() or {
            _FILES[self.protocol]: self.places.expected(f"{_FILES[self.protocol]}.tsv")
        }
        present = {split: path for split, path in there.items() if path.exists()}
        own = self._chosen(present) or next(iter(there))
        return [
            DataFile(
                path,
                "questions with answers and images"
                if not path.exists() or has_answers(path)
                else "questions and images without answers: a submission, no accuracy",
                required=split == own,
                count=lambda path=path: count_rows(path),  # type: ignore[misc]
                official=_OFFICIAL.get(split, ()),
            )
            for split, path in there.items()
        ]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the files used; see `Benchmark.protocol_facts`."""
        there = self._tables()
        used = [there[split].name for split in self._read if split in there]
        return super().protocol_facts() | {
            "files": used or [there[self._own(there)].name],
        }

    def _tables(self) -> dict[str, Path]:
        """Return name -> table of all that are there."""
        if self.places.file is not None:
            return {self.places.file.stem: self.places.file}
        found: dict[str, Path] = {}
        for folder in self.places.folders:
            for path in sorted(folder.glob("*.tsv")):
                if folder.name.lower().startswith("mmbench") or "mmbench" in path.name.lower():
                    found.setdefault(path.stem, path)
        return found

    def _own(self, there: Mapping[str, Path]) -> str:
        chosen, own = self._chosen(there), _FILES[self.protocol]
        if chosen is not None:
            return chosen
        if not there:
            self.places.require(f"{own}.tsv", what="MMBench's questions and images")
        raise DataError(
            f"{self.data} holds {len(there)} tables of MMBench ({', '.join(sorted(there))}), "
            f"and none is {own}, the one of the protocol {self.protocol}: their scores differ.",
            f"Choose one, for example --splits {sorted(there)[0]}",
        )

    def _chosen(self, there: Mapping[str, Path]) -> str | None:
        """Return the protocol's own table, or the only one that it can be; None if unclear."""
        own = _FILES[self.protocol]
        if own in there or len(there) == 1:
            return own if own in there else next(iter(there))
        # Tables of the test split may lie beside it, whose answers nobody has.
        answered = [split for split, path in there.items() if has_answers(path)]
        return answered[0] if len(answered) == 1 else None

    def _questions(self, path: Path) -> list[Question]:
        if path.stem not in self._read:
            self._read[path.stem] = read_questions(path)
        return self._read[path.stem]

    # -- answers ----------------------------------------------------------------------------

    def parse(self, sample: Sample, answer: str) -> str:
        """Read the letter by rules alone."""
        return _read(sample, answer)

    def join(self, path: Path, samples: Sequence[Sample]) -> Joined:
        """Join LLaVA's lines, or a workbook or table with `prediction`, by the row's index."""
        return join_answers(path, samples)

    def require_writer(self) -> None:
        """Check that workbooks can be written; see `Benchmark.require_writer`."""
        require_xlsx()

    def write_submission(
        self, samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
    ) -> list[Path]:
        """Write LLaVA's lines and the workbook for MMBench's server, in a folder per table."""
        there = self._tables()
        files = []
        for split in dict.fromkeys(sample.split for sample in samples):
            chosen = [sample for sample in samples if sample.split == split]
            files += write_answers(there[split], chosen, answers, folder / split, model_id)
        return files

    # -- scoring ----------------------------------------------------------------------------

    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        """Return circular (headline), first pass, per row, and circular by category.

        All of answers read strictly (`read_option`); the last number is circular accuracy of the
        same answers read as VLMEvalKit's exact matching reads them.

        None for a table without answers. With `partial`, a question some of whose rotations have
        no answer cannot be right in all of them and counts as wrong.
        """
        answered = check_complete(samples, answers, partial)
        metrics: list[Metric] = []
        for split in dict.fromkeys(sample.split for sample in answered):
            chosen = [s for s in samples if s.split == split and s.reference]
            read = {s.key: _read(s, answers[s.key]) for s in chosen if s.key in answers}
            if read:
                metrics += numbers(split, chosen, read, headline=not metrics)
                looser = {
                    s.key: _loosely(answers[s.key], s.meta["readable"])
                    for s in chosen
                    if s.key in answers
                }
                if (theirs := circular_as_vlmevalkit(split, chosen, looser)) is not None:
                    metrics.append(theirs)
        return metrics

    def details(self, samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
        """Return how many questions and rows there are, and how many answers name no option."""
        table = {}
        for split in dict.fromkeys(sample.split for sample in samples):
            chosen = [sample for sample in samples if sample.split == split]
            groups = circles(chosen)
            given = [s for s in chosen if s.key in answers]
            table[split] = {
                "questions": len(groups),
                "rows": len(chosen),
                "questions_with_rotations_missing": sum(
                    len(rows) < len(rows[0].meta["options"]) for rows in groups
                ),
                "unread": sum(not _read(s, answers[s.key]) for s in given),
                "has_answers": any(s.reference for s in chosen),
            }
        return table


@lru_cache(maxsize=16384)
def _letter(answer: str, options: tuple[str, ...]) -> str:
    return read_option(answer, options)


@lru_cache(maxsize=16384)
def _loosely(answer: str, options: tuple[str, ...]) -> str:
    return read_option_vlmevalkit(answer, options)


def _read(sample: Sample, answer: str) -> str:
    return _letter(answer, sample.meta["readable"])


def _samples(split: str, questions: Sequence[Question]) -> list[Sample]:
    """Return the rows as samples: those of a picture together, a question's rotations in order."""
    pictures: dict[int, str] = {}
    for question in questions:
        # Rotations stay together even where their pictures are not the same bytes.
        pictures.setdefault(question.group, question.picture.key)
    together: dict[str, list[Question]] = {}
    for question in questions:
        together.setdefault(pictures[question.group], []).append(question)
    return [
        Sample(
            key=str(question.index),
            image=question.picture,
            question=question.prompt,
            split=split,
            kind="choice",
            reference=question.answer,
            cluster=picture,
            meta={
                "question_id": question.index,
                "group": question.group,
                "options": question.options,
                "readable": question.readable,
                "question": question.question,
                "category": question.category,
                "l2-category": question.l2_category,
                "cells": question.cells,
            },
        )
        for picture, some in together.items()
        for question in sorted(some, key=lambda q: (q.group, q.index))
    ]
