"""Intervals by bootstrap over clusters: questions about one thing are not independent.

All draws are made with numpy from a seed, so that a report can be made again. Knows nothing of
benchmarks; used by them and by comparisons of two runs.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Cells of one block of resampling weights: 32 MB.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        value: the mean over all n values.
        low: lower end.
        high: upper end.
        n: number of values.
        clusters: number of clusters.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int


@dataclass(frozen=True)
class Difference(Interval):
    """The mean of a minus the mean of b on the same questions.

    Attributes:
        p: two-sided bootstrap p value of "no difference", at least 1 / resamples.
    """

    p: float


def bootstrap_interval(
    correct: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Return the mean of `correct` with a percentile bootstrap interval over clusters.

    Whole clusters are drawn with replacement (Davison and Hinkley, Bootstrap Methods, section 3.8).
    Where all values are 0 or all are 1 the bootstrap has no width; then Wilson's score interval
    with the number of clusters as sample size is given instead.

    Args:
        correct: n values in [0, 1], usually 0 or 1.
        clusters: n labels; values with equal labels are drawn together.
        seed: of the resampling.
        confidence: in (0, 1).
        resamples: number of draws.

    Raises:
        ValueError: no values, or as many labels as values are not given.
    """
    values = np.asarray(correct, dtype=np.float64)
    sums, sizes = _cluster_sums(values, clusters)
    mean = float(values.mean())
    if values.min() == values.max() and mean in (0.0, 1.0):
        low, high = _wilson(mean, len(sizes), confidence)
    else:
        low, high = _percentiles(_resampled_means(sums, sizes, seed, resamples), confidence)
    return Interval(mean, low, high, len(values), len(sizes))


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Difference:
    """Return mean(a) - mean(b) with its interval, the same clusters drawn for both.

    Args:
        a: n values of the one system.
        b: n values of the other, in the same order.
        clusters: n labels, as for `bootstrap_interval`.
        seed: of the resampling.
        confidence: in (0, 1).
        resamples: number of draws.

    Raises:
        ValueError: lengths differ, or there are no values.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(f"a has shape {left.shape}, b {right.shape}: pairs are needed")
    difference = left - right
    sums, sizes = _cluster_sums(difference, clusters)
    means = _resampled_means(sums, sizes, seed, resamples)
    low, high = _percentiles(means, confidence)
    tail = min(float((means <= 0).mean()), float((means >= 0).mean()))
    p = min(1.0, max(2 * tail, 1 / resamples))
    return Difference(float(difference.mean()), low, high, len(difference), len(sizes), p)


def _cluster_sums(values: Floats, clusters: Sequence[Hashable]) -> tuple[Floats, Floats]:
    if values.ndim != 1 or len(values) == 0 or len(values) != len(clusters):
        raise ValueError(
            f"{values.shape} values and {len(clusters)} cluster labels: expected n >= 1"
        )
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(label, len(numbers)) for label in clusters])
    sums = np.bincount(index, weights=values).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def _resampled_means(sums: Floats, sizes: Floats, seed: int, resamples: int) -> Floats:
    means = [
        (weights @ sums) / (weights @ sizes) for weights in _weights(len(sums), seed, resamples)
    ]
    return np.concatenate(means)


def _weights(count: int, seed: int, resamples: int) -> Iterator[Floats]:
    """Yield blocks [rows, count]: how often each cluster is drawn in each resample."""
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // count)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        yield generator.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)


def _percentiles(means: Floats, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _wilson(share: float, n: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval (E. B. Wilson, 1927)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Rounding must not leave the share itself outside.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
