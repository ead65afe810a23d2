"""What a report knows of single questions, of memory on phones and of answers during training.

Parts of `hydra_mobile.reporting.schema.Report`; all of them are absent from older reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Outcome = Literal["kept", "learned", "flipped", "right", "wrong"]
"""Why a question is shown: right before training, after it and exported; right since training;
another answer in an exported model than in the trained one; wrong in the trained model and in all
that were exported. Without a model to compare with: the trained model's right and wrong answers."""


@dataclass(frozen=True)
class SharedAnswer:
    """One answer and all who gave it.

    Attributes:
        text: as it was generated.
        credit: in [0, 1]; right from one half.
        systems: names of the rows that gave it.
        read: what the benchmark's rules read in it; "" where they read nothing.
    """

    text: str
    credit: float
    systems: tuple[str, ...]
    read: str = ""

    @property
    def right(self) -> bool:
        """Whether it counts as right."""
        return self.credit >= 0.5


@dataclass(frozen=True)
class ShownQuestion:
    """A question of the gallery.

    Attributes:
        benchmark: its name.
        key: of the question, unique in its benchmark.
        kind: form of the question.
        question: as it was asked.
        expected: the right answer.
        outcome: why it is shown.
        image: the image as a `data:` address, small; "" where it must not be passed on.
        answers: the different answers, in the order of the rows.
        lead: how far the trained model's first token was ahead of the second best, in logits.
    """

    benchmark: str
    key: str
    kind: str
    question: str
    expected: str
    outcome: Outcome
    image: str = ""
    answers: tuple[SharedAnswer, ...] = ()
    lead: float | None = None


@dataclass(frozen=True)
class Outcomes:
    """What became of every question: before training, after it, and in one exported model.

    Attributes:
        before: name of the untrained row.
        after: name of the trained row.
        export: name of the exported row.
        kept: right in all three.
        learned: right after training and exported, wrong before.
        broken: right after training, wrong exported.
        lucky: wrong after training, right exported.
        unlearned: right before training only.
        never: wrong in all three.
    """

    before: str
    after: str
    export: str
    kept: int = 0
    learned: int = 0
    broken: int = 0
    lucky: int = 0
    unlearned: int = 0
    never: int = 0

    @property
    def total(self) -> int:
        """All questions."""
        return (
            self.kept + self.learned + self.broken + self.lucky + self.unlearned + self.never
        )  # fmt: skip


@dataclass(frozen=True)
class LeadBin:
    """Questions by the trained model's lead, and how many answers of each export differ there.

    Attributes:
        low: least lead in logits; `high` is the first that is above, None for no bound.
        n: questions.
        differ: name of an exported row -> answers that are not the trained model's.
    """

    low: float
    high: float | None
    n: int
    differ: dict[str, int]


@dataclass(frozen=True)
class SaidCounts:
    """How often each answer was given to one kind of question that has few answers.

    Attributes:
        benchmark: its name.
        kind: form of the question.
        n: questions.
        expected: right answer -> how often.
        systems: name of a row -> answer as the benchmark reads it -> how often; "" is unreadable.
    """

    benchmark: str
    kind: str
    n: int
    expected: dict[str, int]
    systems: dict[str, dict[str, int]]


@dataclass(frozen=True)
class QuestionSection:
    """What happened to single questions.

    Attributes:
        n: questions of all benchmarks that every row answered.
        shown: the gallery.
        outcomes: one for each exported row, where an untrained and a trained one are there.
        leads: from small to large.
        said: kinds of questions with few answers.
    """

    n: int = 0
    shown: tuple[ShownQuestion, ...] = ()
    outcomes: tuple[Outcomes, ...] = ()
    leads: tuple[LeadBin, ...] = ()
    said: tuple[SaidCounts, ...] = ()


def renamed(section: QuestionSection, names: Mapping[str, str]) -> QuestionSection:
    """Return the section with other names of rows; those that `names` lacks stay."""

    def name(old: str) -> str:
        return names.get(old, old)

    def answer(one: SharedAnswer) -> SharedAnswer:
        return replace(one, systems=tuple(map(name, one.systems)))

    return replace(
        section,
        shown=tuple(replace(q, answers=tuple(map(answer, q.answers))) for q in section.shown),
        outcomes=tuple(
            replace(o, before=name(o.before), after=name(o.after), export=name(o.export))
            for o in section.outcomes
        ),
        leads=tuple(
            replace(b, differ={name(key): n for key, n in b.differ.items()}) for b in section.leads
        ),
        said=tuple(
            replace(s, systems={name(key): counts for key, counts in s.systems.items()})
            for s in section.said
        ),
    )


@dataclass(frozen=True)
class PhoneMemory:
    """Estimated memory of a bundle on a phone, in bytes.

    Attributes:
        parts: what -> bytes: weights, cache, tokenizer, runtime, and the largest of the steps that
            come one after the other (loading, image, prompt).
        peak: most at once, the app left out.
        app: an app with an image on the screen and no model.
        usable: memory of a phone in GiB -> bytes that one app may use of it.
        basis: how far the estimate can be trusted.
    """

    parts: dict[str, int]
    peak: int
    app: int
    usable: dict[str, int] = field(default_factory=dict)
    basis: str = ""

    @property
    def needed(self) -> int:
        """Bytes at the peak with the app around the model."""
        return self.peak + self.app


@dataclass(frozen=True)
class TrainingAnswer:
    """An answer to a held-out question during training.

    Attributes:
        step: of the stage that trains the adapters.
        question: as it was asked.
        expected: the right answer.
        answer: the model's at that step.
        image: the image as a `data:` address, small; "" where it is gone.
    """

    step: int
    question: str
    expected: str
    answer: str
    image: str = ""
