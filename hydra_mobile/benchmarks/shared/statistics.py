"""Intervals by bootstrap over clusters: questions about one thing are not independent.

All draws are made with numpy from a seed, so that a report can be made again.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Cells of one block of resampling weights: 32 MB.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Difference:
    """What a has more than b on the same questions, with its confidence interval.

    Attributes:
        value: the difference itself.
        low: lower end.
        high: upper end.
        n: number of questions.
        clusters: number of clusters.
        p: two-sided bootstrap p value of "no difference", at least 1 / resamples.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int
    p: float


def difference_of(
    value: float, draws: Floats, confidence: float, n: int, clusters: int
) -> Difference:
    """Return a difference with the interval and the p value that its draws give.

    Args:
        value: the difference itself.
        draws: [resamples] differences of the draws.
        confidence: in (0, 1).
        n: number of values behind it.
        clusters: number of clusters.
    """
    low, high = percentiles(draws, confidence)
    tail = min(float((draws <= 0).mean()), float((draws >= 0).mean()))
    p = min(1.0, max(2 * tail, 1 / len(draws)))
    return Difference(value, low, high, n, clusters, p)


def resampled_sums(
    terms: Floats,
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> Floats:
    """Return the sums of `terms` [n, k] over resampled clusters: [resamples, k].

    Whole clusters are drawn with replacement (Davison and Hinkley, Bootstrap Methods, section 3.8).
    Each stratum keeps its number of clusters in every draw.

    Args:
        terms: n rows.
        clusters: n labels; rows with equal labels (of one stratum) are drawn together.
        strata: n labels; None for one stratum.
        seed: of the resampling.
        resamples: number of draws.

    Raises:
        ValueError: no rows, or as many labels as rows are not given.
    """
    if terms.ndim != 2 or len(terms) == 0 or len(terms) != len(clusters):
        raise ValueError(
            f"{terms.shape} values and {len(clusters)} cluster labels: expected n >= 1"
        )
    groups = strata if strata is not None else [0] * len(clusters)
    numbers: dict[tuple[Hashable, Hashable], int] = {}
    labels = zip(groups, clusters, strict=True)
    index = np.array([numbers.setdefault(label, len(numbers)) for label in labels])
    sums = np.stack([np.bincount(index, weights=column) for column in terms.T], axis=1)
    members: dict[Hashable, list[int]] = {}
    for (group, _), number in numbers.items():
        members.setdefault(group, []).append(number)
    generator = np.random.default_rng(seed)
    total = np.zeros((resamples, terms.shape[1]))
    for chosen in members.values():
        of_group = sums[chosen]
        for start, weights in _weights(generator, len(chosen), resamples):
            total[start : start + len(weights)] += weights @ of_group
    return total


def _weights(
    generator: np.random.Generator, count: int, resamples: int
) -> Iterator[tuple[int, Floats]]:
    """Yield the first row and a block [rows, count]: how often each draw takes each cluster."""
    rows = max(1, _BLOCK // count)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=size)
        yield start, drawn.astype(np.float64)


def percentiles(draws: Floats, confidence: float) -> tuple[float, float]:
    """Return the ends of the percentile interval of [resamples] draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def wilson(share: float, n: int, confidence: float) -> tuple[float, float]:
    """Return Wilson's score interval of a share of n (E. B. Wilson, 1927)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Rounding must not leave the share itself outside.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
