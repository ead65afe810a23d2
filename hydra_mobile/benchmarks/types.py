"""A question, a number of the result table, and a file that a benchmark reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hydra_mobile.benchmarks.pictures import Picture

__all__ = ["CHOICE", "PROTOCOLS", "SHORT_ANSWER", "DataFile", "Sample", "Score"]

PROTOCOLS = ("llava-1.5", "mobilevlm")

#: The suffix that asks for a short answer (POPE, MME, GQA, TextVQA), byte for byte.
SHORT_ANSWER = "\nAnswer the question using a single word or phrase."
#: The suffix that asks for a letter (MMBench, ScienceQA), byte for byte.
CHOICE = "\nAnswer with the option's letter from the given choices directly."


@dataclass(frozen=True)
class Sample:
    """One question.

    Attributes:
        key: unique within the benchmark.
        image: the picture; None for a question without one.
        question: the question as the file has it.
        split: part of the benchmark that is scored by itself.
        kind: form of the question, for scores by kind.
        reference: the right answer.
        cluster: questions with equal clusters are resampled together.
        meta: whatever the scorer needs besides.
    """

    key: str
    image: Picture | None
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
        value: in [0, 1] for the unit "share", a sum of points for "points" (MME).
        low: lower end of the 95% interval.
        high: upper end.
        n: number of questions (or groups of questions).
        majority: what the best constant answers reach on the same questions; None if that means
            nothing.
        unread: answers that could not be read as any valid answer; they count as wrong.
        unit: "share" or "points".
        headline: the one number that tables show for the benchmark.
    """

    name: str
    kind: str
    value: float
    low: float
    high: float
    n: int
    majority: float | None
    unread: int = 0
    unit: Literal["share", "points"] = "share"
    headline: bool = False


@dataclass(frozen=True)
class DataFile:
    """A file (or folder) that a benchmark reads.

    Attributes:
        path: where it was found, or where it is expected.
        what: what it holds, for people.
        required: whether nothing can be scored without it.
        count: counts what is in it; None where only its presence matters.
        official: the counts that the official releases have; empty if there is no such number.
    """

    path: Path
    what: str
    required: bool
    count: Callable[[], int] | None = None
    official: tuple[int, ...] = ()
