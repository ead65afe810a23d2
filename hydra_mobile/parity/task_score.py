"""The task itself on a rung: both forms answer the same slice of a benchmark."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.shared.statistics import paired_bootstrap
from hydra_mobile.bundle.tolerance import Tolerance
from hydra_mobile.runtimes.base import Runtime
from hydra_mobile.runtimes.generation import Generator


@dataclass(frozen=True)
class ScoreChange:
    """How a score changed from one form to the next, on the same questions.

    Attributes:
        benchmark: its name.
        n: questions asked.
        before: score of the earlier form, in [0, 1].
        after: score of the later form.
        change: after minus before; `low` and `high` bound its paired 95 % interval.
        same: share of answers that are equal letter by letter.
        note: what is out of tolerance; empty otherwise.
    """

    benchmark: str
    n: int
    before: float
    after: float
    change: float
    low: float
    high: float
    same: float
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)


class Slice:
    """Some questions of a benchmark, the same for every form.

    Args:
        benchmark: gives the questions and judges the answers.
        limit: about how many of each split; None for all.

    Raises:
        DataError: the data are missing or altered.
    """

    def __init__(self, benchmark: Benchmark, limit: int | None) -> None:
        self.benchmark = benchmark
        self.samples = benchmark.samples(limit=limit)

    def answers(self, runner: Runtime) -> list[str]:
        """Return the runner's answers, in the order of the questions."""
        generator = Generator(runner)
        texts = []
        for sample in self.samples:
            image = sample.image
            generation = generator.answer(
                self.benchmark.prompt(sample),
                image.open if image else None,
                image.key if image else None,
                max_new_tokens=self.benchmark.max_new_tokens,
            )
            texts.append(generation.text)
        return texts

    def change(self, before: list[str], after: list[str], tolerance: Tolerance) -> ScoreChange:
        """Compare two forms' answers and hold the change to the tolerance."""
        old, new = self._right(before), self._right(after)
        difference = paired_bootstrap(new, old, [sample.cluster for sample in self.samples])
        same = sum(a == b for a, b in zip(before, after, strict=True)) / len(before)
        note = ""
        if same < tolerance.answers:
            note = f"{same:.1%} of the answers are the same (at least {tolerance.answers:.0%})"
        elif difference.high < -tolerance.score_drop:
            note = (
                f"the score falls by {-100 * difference.value:.1f} points, by "
                f"{-100 * difference.high:.1f} at the least "
                f"(at most {100 * tolerance.score_drop:.1f})"
            )
        return ScoreChange(
            benchmark=self.benchmark.name,
            n=len(before),
            before=sum(old) / len(old),
            after=sum(new) / len(new),
            change=difference.value,
            low=difference.low,
            high=difference.high,
            same=same,
            note=note,
        )

    def _right(self, texts: list[str]) -> list[float]:
        pairs = zip(self.samples, texts, strict=True)
        return [self.benchmark.credit(sample, text) for sample, text in pairs]
