"""Answers meet questions: by key, never by position, and nothing is dropped without a word.

The official scripts pair by position and stop at the shorter file, so that one lost line gives a
plausible wrong score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.shared.answer_files import Record
from hydra_mobile.benchmarks.types import Sample
from hydra_mobile.core.errors import DataError

_NAMED = 3
_MEND = "Score the answers with the same data and the same limit that they were made with."
_PARTIAL = "To score what fits, and have the result say that it is incomplete: --allow-partial"


@dataclass(frozen=True)
class Joined:
    """An answers file, joined to the questions.

    Attributes:
        source: name of the file.
        questions: how many there are.
        found: answers in the file.
        answers: sample key -> text, of those that fit; of doubled ones the first.
        missing: keys of questions without an answer.
        unknown: answers to no question, as their file names them.
        duplicate: answers to a question that has one already.
        mismatched: answers whose prompt, or whose true answer, is not that of their question.
        aside: answers to questions of the benchmark that are not scored here.
        notes: what else the result should say.
    """

    source: str
    questions: int
    found: int
    answers: dict[str, str]
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    duplicate: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    aside: int = 0
    notes: tuple[str, ...] = ()

    @property
    def problems(self) -> dict[str, tuple[str, ...]]:
        """What does not fit, by kind; kinds without any are left out."""
        kinds = {
            "missing": self.missing,
            "unknown": self.unknown,
            "duplicate": self.duplicate,
            "mismatched": self.mismatched,
        }
        return {kind: names for kind, names in kinds.items() if names}

    @property
    def complete(self) -> bool:
        """Whether there is exactly one answer to each question and no other."""
        return not self.problems

    def require_complete(self) -> None:
        """Raise unless there is exactly one answer to each question and no other.

        Raises:
            DataError: counts and names what does not fit.
        """
        if self.problems:
            raise DataError(
                f"{self.source}: answers and questions do not match: {self.complaint()}; "
                f"{self.questions} questions, {self.found} answers.",
                f"{_MEND} {_PARTIAL}",
            )

    def complaint(self) -> str:
        """Return what does not fit in one line, counted and named."""
        return _complaint(
            {
                "without an answer": self.missing,
                "answered but unknown": self.unknown,
                "answered more than once": self.duplicate,
                "to another question than their key says": self.mismatched,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, and the first names of what does not fit, as JSON values."""
        return {
            "complete": self.complete,
            "questions": self.questions,
            "answers": self.found,
            "answered": len(self.answers),
            "set_aside": self.aside,
            "problems": {
                kind: {"count": len(names), "first": list(names[:_NAMED])}
                for kind, names in self.problems.items()
            },
        }


class AnswerMatcher:
    """Collects the answers of one file.

    Args:
        samples: the questions.
        source: the answers file, for messages.
    """

    def __init__(self, samples: Sequence[Sample], source: Path) -> None:
        self.source = source
        self._keys = dict.fromkeys(sample.key for sample in samples)
        self._answers: dict[str, str] = {}
        self._unknown: list[str] = []
        self._duplicate: list[str] = []
        self._mismatched: list[str] = []
        self._missing: list[str] = []
        self._aside = 0
        self._notes: dict[str, None] = {}

    def add(self, key: str | None, text: str, where: str) -> None:
        """Give one answer to the question `key`; None if no question is known for it.

        Args:
            key: the sample's key.
            text: the answer as the file has it.
            where: what messages call it, for example "line 3 (question_id 7)".
        """
        if key is None or key not in self._keys:
            self._unknown.append(where)
        elif key in self._answers:
            self._duplicate.append(where)
        else:
            self._answers[key] = text

    def add_own(self, record: Record) -> None:
        """Give one line of our own answers.jsonl, which holds the sample's key itself."""
        if "key" not in record.value:
            raise DataError(
                f"{self.source}, {record.where} has no `key` and is in no format known here.",
                "Expected the answers.jsonl of `hydra-mobile evaluate`.",
            )
        self.add(str(record.value["key"]), record.text("text"), record.where)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def miss(self, name: str) -> None:
        """Count a question that the benchmark has and these data lack, answer and all."""
        self._missing.append(name)

    def mismatched(self, where: str) -> None:
        """Count an answer whose prompt or true answer is not that of its question."""
        self._mismatched.append(where)

    def set_aside(self) -> None:
        """Count an answer to a question of the benchmark that is not scored here."""
        self._aside += 1

    def note(self, text: str) -> None:
        """Keep something that the result should say; the same text is kept once."""
        self._notes[text] = None

    def joined(self) -> Joined:
        """Return what has been collected."""
        wrong = len(self._unknown) + len(self._duplicate) + len(self._mismatched)
        return Joined(
            source=self.source.name,
            questions=len(self._keys),
            found=len(self._answers) + wrong + self._aside,
            answers={key: self._answers[key] for key in self._keys if key in self._answers},
            missing=(
                *(key for key in self._keys if key not in self._answers),
                *self._missing,
            ),
            unknown=tuple(self._unknown),
            duplicate=tuple(self._duplicate),
            mismatched=tuple(self._mismatched),
            aside=self._aside,
            notes=tuple(self._notes),
        )


def check_complete(
    samples: Sequence[Sample], answers: Mapping[str, str], allow_partial: bool = False
) -> list[Sample]:
    """Return the samples that have an answer; raise unless that is all of them and no other.

    Args:
        samples: the questions.
        answers: sample key -> text.
        allow_partial: take what is there.

    Raises:
        DataError: counts and names what is missing, unknown or doubled; or nothing is answered.
    """
    keys = Counter(sample.key for sample in samples)
    doubled = [key for key, count in keys.items() if count > 1]
    found = {
        "without an answer": [key for key in keys if key not in answers],
        "answered but unknown": [key for key in answers if key not in keys],
        "there more than once": doubled,
    }
    answered = [sample for sample in samples if sample.key in answers]
    if doubled or (any(found.values()) and not allow_partial) or not answered:
        raise DataError(
            f"Answers and questions do not match: {_complaint(found)}; "
            f"{len(keys)} questions, {len(answers)} answers.",
            _MEND,
        )
    return answered


def _complaint(found: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(
        f"{len(some)} {what} ({', '.join(some[:_NAMED])}{', ...' if len(some) > _NAMED else ''})"
        for what, some in found.items()
        if some
    )
