"""Paired differences and their confidence intervals.

The intervals are Student's t over the seeds: with ten pairs a bootstrap of percentiles is too
narrow. They are not corrected for the number of arms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences with its 95 % interval."""

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def verdict(self) -> str:
        """Return "lower", "higher" or "not distinguishable"."""
        if self.high < 0:
            return "lower"
        return "higher" if self.low > 0 else "not distinguishable"


def difference(arm: Sequence[float], reference: Sequence[float]) -> Difference:
    """Return the mean of arm - reference, pair by pair; at least two pairs."""
    values = np.array(arm) - np.array(reference)
    pairs = len(values)
    half = t_quantile(pairs - 1) * float(values.std(ddof=1)) / math.sqrt(pairs)
    mean = float(values.mean())
    return Difference(mean, mean - half, mean + half, pairs)


def relative(arm: Sequence[float], reference: Sequence[float]) -> Difference:
    """Return the same for the logarithms, as a share: -0.1 means 10 % lower (geometric mean)."""
    logs = difference(np.log(arm).tolist(), np.log(reference).tolist())
    return Difference(
        math.expm1(logs.mean), math.expm1(logs.low), math.expm1(logs.high), logs.pairs
    )


def t_quantile(freedom: int, level: float = 0.975) -> float:
    """Return the quantile of Student's t distribution, by bisection of its integral."""
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))

    def above_half(x: float) -> float:
        points = np.linspace(0.0, x, 20_001)
        density = scale * (1 + points**2 / freedom) ** (-(freedom + 1) / 2)
        return float(np.trapezoid(density, points))

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if above_half(middle) < level - 0.5 else (low, middle)
    return high
