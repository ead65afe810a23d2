"""A number of the result table as a function of sums over questions, with its interval.

Everything that the benchmarks report is one: a share, F1, MME's points, circular accuracy. Holding
the terms of the sums lets one bootstrap serve them all, and the same draws serve two systems.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from hydra_mobile.benchmarks.shared.statistics import (
    Difference,
    Floats,
    difference_of,
    percentiles,
    resampled_sums,
    wilson,
)
from hydra_mobile.benchmarks.types import Score

RESAMPLES = 2000
CONFIDENCE = 0.95


def ratio(sums: Floats) -> Floats:
    """Return the first of two sums over the second, 0 where the second is 0: [..., 2] -> [...]."""
    return divided(sums[..., 0], sums[..., 1])


def divided(above: Floats, below: Floats) -> Floats:
    """Return above / below, elementwise, and 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


@dataclass(frozen=True)
class Metric:
    """One number and all that its interval needs.

    Attributes:
        split: part of the benchmark.
        kind: "all", or the part of the split that is scored.
        terms: float64 [n, k], each question's contribution to the k sums.
        clusters: n labels; questions with equal labels are drawn together.
        strata: n labels of groups whose sizes stay as they are in every draw; None for one group.
        combine: [..., k] sums -> [...] values.
        unit: "share" for values in [0, 1], "points" for sums.
        headline: the benchmark's one number for tables.
        majority: what the best constant answers reach; None if that means nothing.
        unread: answers that could not be read as any valid answer.
    """

    split: str
    kind: str
    terms: Floats
    clusters: Sequence[Hashable]
    strata: Sequence[Hashable] | None = None
    combine: Callable[[Floats], Floats] = ratio
    unit: Literal["share", "points"] = "share"
    headline: bool = False
    majority: float | None = None
    unread: int = 0

    def __post_init__(self) -> None:
        if self.terms.ndim != 2 or not len(self.terms):
            raise ValueError(f"terms of shape {self.terms.shape}: expected [n, k] with n >= 1")
        for labels in (self.clusters, self.strata):
            if labels is not None and len(labels) != len(self.terms):
                raise ValueError(f"{len(self.terms)} rows of terms, {len(labels)} labels")

    @property
    def value(self) -> float:
        """The number itself."""
        return float(self.combine(self.terms.sum(axis=0)))

    def score(self, *, seed: int = 0) -> Score:
        """Return the number with its 95% percentile interval over clusters, within strata.

        Where all answers are right, or all wrong, a share's bootstrap has no width; then Wilson's
        interval with the number of clusters as sample size is given instead.
        """
        return self._score(
            resampled_sums(self.terms, self.clusters, self.strata, seed=seed, resamples=RESAMPLES)
        )

    def _score(self, sums: Floats) -> Score:
        """Return the score that [resamples, k] sums of draws give."""
        value = self.value
        low, high = percentiles(self.combine(sums), CONFIDENCE)
        if self.unit == "share" and low == high and value in (0.0, 1.0):
            low, high = wilson(value, self._cluster_count(), CONFIDENCE)
        return Score(
            name=self.split,
            kind=self.kind,
            value=value,
            low=low,
            high=high,
            n=len(self.terms),
            majority=self.majority,
            unread=self.unread,
            unit=self.unit,
            headline=self.headline,
        )

    def _cluster_count(self) -> int:
        strata = self.strata if self.strata is not None else [0] * len(self.clusters)
        return len(set(zip(strata, self.clusters, strict=True)))


def share(
    split: str,
    kind: str,
    values: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    headline: bool = False,
    majority: float | None = None,
    unread: int = 0,
) -> Metric:
    """Return the mean of `values` as a metric.

    Args:
        split: part of the benchmark.
        kind: part of the split.
        values: n values in [0, 1].
        clusters: n labels.
        headline: the benchmark's one number for tables.
        majority: what the best constant answers reach.
        unread: answers that could not be read.
    """
    column = np.asarray(values, dtype=np.float64)
    terms = np.stack([column, np.ones_like(column)], axis=1)
    return Metric(split, kind, terms, clusters, headline=headline, majority=majority, unread=unread)


def scores_of(metrics: Sequence[Metric], *, seed: int = 0) -> list[Score]:
    """Return the scores of `metrics`, as each by itself would give, in fewer draws.

    Metrics of the same questions share their draws; thousands of clusters take a while to draw.
    """
    together: dict[tuple[Hashable, ...], list[int]] = {}
    for number, metric in enumerate(metrics):
        strata = None if metric.strata is None else tuple(metric.strata)
        together.setdefault((tuple(metric.clusters), strata), []).append(number)
    scores: dict[int, Score] = {}
    for numbers in together.values():
        chosen = [metrics[number] for number in numbers]
        terms = np.concatenate([metric.terms for metric in chosen], axis=1)
        sums = resampled_sums(
            terms, chosen[0].clusters, chosen[0].strata, seed=seed, resamples=RESAMPLES
        )
        widths = np.cumsum([metric.terms.shape[1] for metric in chosen])[:-1]
        parts = np.split(sums, widths, axis=1)
        for number, metric, part in zip(numbers, chosen, parts, strict=True):
            scores[number] = metric._score(part)
    return [scores[number] for number in range(len(metrics))]


def paired(a: Metric, b: Metric, *, seed: int = 0) -> Difference:
    """Return a minus b with its interval, the same clusters drawn for both.

    Args:
        a: the one system's metric.
        b: the other's, of the same questions in the same order.
        seed: of the resampling.

    Raises:
        ValueError: the two are not of the same questions.
    """
    if list(a.clusters) != list(b.clusters) or list(a.strata or ()) != list(b.strata or ()):
        raise ValueError(f"{a.split} {a.kind}: the two metrics are not of the same questions")
    width = a.terms.shape[1]
    both = np.concatenate([a.terms, b.terms], axis=1)
    sums = resampled_sums(both, a.clusters, a.strata, seed=seed, resamples=RESAMPLES)
    draws = a.combine(sums[:, :width]) - b.combine(sums[:, width:])
    return difference_of(a.value - b.value, draws, CONFIDENCE, len(both), a._cluster_count())
