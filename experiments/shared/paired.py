"""Paired differences and their confidence intervals.

The intervals are Student's t over the seeds: with ten pairs a bootstrap of percentiles is too
narrow. They are not corrected for the number of arms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences with its 95% interval."""

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
    half = float(student.ppf(0.975, pairs - 1)) * float(values.std(ddof=1)) / math.sqrt(pairs)
    mean = float(values.mean())
    return Difference(mean, mean - half, mean + half, pairs)


def relative(arm: Sequence[float], reference: Sequence[float]) -> Difference:
    """Return the same for the logarithms, as a share: -0.1 means 10% lower (geometric mean)."""
    logs = difference(np.log(arm).tolist(), np.log(reference).tolist())
    return Difference(
        math.expm1(logs.mean), math.expm1(logs.low), math.expm1(logs.high), logs.pairs
    )
