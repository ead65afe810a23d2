"""The task itself as part of a comparison: both models answer the same subset of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.metric import Metric, paired, share
from hydra_mobile.benchmarks.question import questions_of
from hydra_mobile.bundle.tolerance import Tolerance
from hydra_mobile.core.errors import DataError
from hydra_mobile.runtimes.answering import answers, tokenized
from hydra_mobile.runtimes.base import Runtime


@dataclass(frozen=True)
class ScoreChange:
    """How a score changed from one model to the next, on the same questions.

    Attributes:
        benchmark: its name.
        n: number of questions.
        before: score of the earlier model, the mean credit of a question in [0, 1].
        after: score of the later model.
        change: after minus before; `low` and `high` bound its paired 95% interval.
        same: share of identical answers.
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


class TaskSubset:
    """Some questions of a benchmark, the same for every model.

    Args:
        benchmark: gives the questions and scores the answers.
        limit: about how many of each split; None for all.

    Raises:
        DataError: the data are missing or altered, or hold no question.
    """

    def __init__(self, benchmark: Benchmark, limit: int | None) -> None:
        self.benchmark = benchmark
        self.samples = benchmark.samples(limit=limit)
        if not self.samples:
            raise DataError(f"{benchmark.name} holds no questions.", "Check --data and --limit.")
        self.questions = questions_of(benchmark, self.samples)

    def answers(self, runtime: Runtime) -> dict[str, str]:
        """Return question key -> the model's answer, prompted exactly as by `evaluate`.

        Raises:
            HydraError: a prompt does not fit into the context, or a picture cannot be read.
        """
        benchmark = self.benchmark
        prompted = tokenized(
            self.questions, runtime.processor, runtime.max_context, title=benchmark.name
        )
        found = answers(
            runtime,
            prompted,
            max_new_tokens=benchmark.max_new_tokens,
            image_fit=benchmark.image_fit,
        )
        return {each.line.key: each.line.text for each in found}

    def change(
        self, before: Mapping[str, str], after: Mapping[str, str], tolerance: Tolerance
    ) -> ScoreChange:
        """Compare the answers of two models and hold the change to the tolerance.

        The score is the mean credit of a question whatever the benchmark's own number is, so that
        the tolerance, a share, has one meaning for all of them.
        """
        old, new = self._credit(before), self._credit(after)
        difference = paired(new, old)
        same = sum(before[s.key] == after[s.key] for s in self.samples) / len(self.samples)
        note = ""
        if same < tolerance.answers:
            note = f"{same:.1%} of the answers are identical (at least {tolerance.answers:.0%})"
        elif difference.high < -tolerance.score_drop:
            note = (
                f"the score falls by {-100 * difference.value:.1f} points, by at least "
                f"{-100 * difference.high:.1f} (at most {100 * tolerance.score_drop:.1f})"
            )
        return ScoreChange(
            benchmark=self.benchmark.name,
            n=len(self.samples),
            before=old.value,
            after=new.value,
            change=difference.value,
            low=difference.low,
            high=difference.high,
            same=same,
            note=note,
        )

    def _credit(self, texts: Mapping[str, str]) -> Metric:
        credits = [self.benchmark.credit(sample, texts[sample.key]) for sample in self.samples]
        return share("all", "all", credits, [sample.cluster for sample in self.samples])
