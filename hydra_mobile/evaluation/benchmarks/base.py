"""What every benchmark does: give questions, say how to ask them, score the answers.

A benchmark knows its files and its rules; it knows no model and no runtime. Used by the evaluate
command, which asks any runner the same questions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hydra_mobile.errors import DataError


@dataclass(frozen=True)
class Sample:
    """One question.

    Attributes:
        key: unique within the benchmark.
        image: the picture's path; None for a question without one.
        question: the question as the file has it.
        split: part of the benchmark that is scored by itself.
        kind: form of the question, for scores by kind.
        reference: the right answer.
        cluster: questions with equal clusters are resampled together.
        meta: whatever the scorer needs besides.
    """

    key: str
    image: Path | None
    question: str
    split: str
    kind: str
    reference: str
    cluster: str
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """One number of the result table.

    Attributes:
        name: the split.
        kind: "all", or the part of the split that is scored.
        value: in [0, 1].
        low: lower end of the 95 % interval.
        high: upper end.
        n: number of questions (or groups of questions).
        majority: what the best constant answers reach on the same questions.
        unread: answers that could not be read as any valid answer; they count as wrong.
    """

    name: str
    kind: str
    value: float
    low: float
    high: float
    n: int
    majority: float
    unread: int = 0


class Benchmark(ABC):
    """A set of questions with its rules."""

    name: ClassVar[str]
    #: Tokens after which an answer is cut off.
    max_new_tokens: ClassVar[int] = 16

    def __init__(self, data: Path) -> None:
        self.data = data

    @abstractmethod
    def samples(self, *, splits: Sequence[str] = (), limit: int | None = None) -> list[Sample]:
        """Return the questions, those about one picture beside each other.

        Args:
            splits: which ones; empty for all there are.
            limit: at most about this many of each split, kinds in the same mix; None for all.

        Raises:
            DataError: a file is missing or altered, or a split is unknown.
        """

    def prompt(self, sample: Sample) -> str:
        """Return what the user would type: the question with its suffix, without a template."""
        return sample.question

    @abstractmethod
    def is_correct(self, sample: Sample, answer: str) -> bool:
        """Say whether `answer`, read by the benchmark's rules, is right."""

    @abstractmethod
    def score(self, samples: Sequence[Sample], answers: Mapping[str, str]) -> list[Score]:
        """Return the scores, split by split.

        Args:
            samples: from `samples()`.
            answers: sample key -> the model's answer.

        Raises:
            DataError: an answer is missing, or belongs to no sample.
        """


def check_complete(samples: Sequence[Sample], answers: Mapping[str, str]) -> None:
    """Raise unless there is exactly one answer for each sample.

    Raises:
        DataError: counts and names what is missing, unknown or doubled.
    """
    keys = Counter(sample.key for sample in samples)
    found = {
        "without an answer": [key for key in keys if key not in answers],
        "answered but unknown": [key for key in answers if key not in keys],
        "there more than once": [key for key, count in keys.items() if count > 1],
    }
    problems = [
        f"{len(some)} {what} ({', '.join(some[:3])}{', ...' if len(some) > 3 else ''})"
        for what, some in found.items()
        if some
    ]
    if problems:
        raise DataError(
            f"Answers and questions do not match: {'; '.join(problems)}; "
            f"{len(keys)} questions, {len(answers)} answers.",
            "Score the answers with the same data and the same limit that they were made with.",
        )
