"""The gate of the performance model: whether its predictions may move ranks.

What the gate must withstand is gains that are pure noise: at 13 events, deciding at every event
from 12 observations on, at most 5% of runs may act. The three conditions of the specification (at
least 12 observations, correlation at least 0.3, smaller error than the constant and than the
ridge) do not, so a fourth comes on top, on the p-value of the correlation with as many
observations as those of shared events are worth. Share of runs that would act on noise:

    candidates per event                    1             4
    the specification's gate alone       20 / 200      12 / 112
    and the lower bound above 0          13 / 200       9 / 112
    and p <= 0.01                         2 / 200       0 / 112

The fourth condition was chosen with all of the first column and 91 runs of the second in view; the
other 21 came after. The lower bound alone stops few: it is the best of hundreds of candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hydra_mobile.adapters.dynamic.data import Floats

LEAST_OBSERVATIONS = 12
LEAST_EVENTS = 3
LEAST_SPEARMAN = 0.3
MOST_CHANCE = 0.01
"""Largest one-sided p-value of the correlation. Not 5%: a run decides up to eleven times."""


@dataclass(frozen=True)
class Gate:
    """Whether the model may be acted upon, and why not.

    Attributes:
        passed: all conditions hold.
        reason: a sentence for people, in either case.
        observations: how many there were, those with a finite gain.
        spearman: rank correlation of predicted and measured gains on left-out events.
        mlp_error: root mean squared error of the network on left-out events.
        ridge_error: the same of the ridge, whose penalty had the choice of the smallest.
        constant_error: the same of the mean gain. All four are None where nothing was fitted.
    """

    passed: bool
    reason: str
    observations: int
    spearman: float | None = None
    mlp_error: float | None = None
    ridge_error: float | None = None
    constant_error: float | None = None


def judge(gains: Floats, mlp: Floats, ridge: Floats, constant: Floats, worth: float) -> Gate:
    """Return whether predictions of left-out events are good enough to act on.

    Args:
        gains: measured, [n].
        mlp: predicted by the networks, [n].
        ridge: predicted by the ridge, [n].
        constant: the mean gain of the other events, [n].
        worth: how many independent observations the n are worth, see `effective`.
    """
    n = len(gains)

    def error(predicted: Floats) -> float:
        return float(np.sqrt(np.mean((predicted - gains) ** 2)))

    errors = {"mlp": error(mlp), "ridge": error(ridge), "constant": error(constant)}
    if not all(math.isfinite(value) for value in errors.values()):
        return Gate(False, "the model's errors are not finite", n)
    correlation = spearman(mlp, gains)
    p = chance(correlation, worth)
    reason = ""
    if correlation < LEAST_SPEARMAN:
        reason = (
            f"on events left out, predicted and measured gains correlate by {correlation:.2f}, "
            f"at least {LEAST_SPEARMAN} is needed"
        )
    elif p > MOST_CHANCE:
        reason = (
            f"a correlation of {correlation:.2f} over {n} observations, worth {worth:.3g} "
            f"independent ones, has p = {p:.3f}, at most {MOST_CHANCE} is needed"
        )
    elif not errors["mlp"] < errors["constant"]:
        reason = f"no better than the mean gain (error {errors['mlp']:.3g})"
    elif not errors["mlp"] < errors["ridge"]:
        reason = f"no better than a ridge (error {errors['mlp']:.3g}, {errors['ridge']:.3g})"
    return Gate(
        not reason,
        reason or f"predicts left-out events: correlation {correlation:.2f} over {n} observations",
        n,
        correlation,
        errors["mlp"],
        errors["ridge"],
        errors["constant"],
    )


def spearman(one: Sequence[float] | Floats, other: Sequence[float] | Floats) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; 0 if one side is constant."""
    return correlation(centered_ranks(one), centered_ranks(other))


def correlation(x: Floats, y: Floats) -> float:
    """Return the correlation of values whose means are 0; 0 if one side is constant."""
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size else 0.0


def effective(sizes: Sequence[int]) -> float:
    """Return how many independent observations those of events of these sizes are worth.

    The gains of one event share the loss of the current map, which is half of their variance if
    all losses are equally noisy. So m of them are worth 2 m / (m + 1), never more than two.
    """
    return math.fsum(2.0 * size / (size + 1) for size in sizes)


def chance(correlation: float, n: float) -> float:
    """Return the one-sided p-value of Spearman's correlation of n pairs; 1 for n of 3 or less.

    By Fisher's transform, with the variance 1.06 / (n - 3) of Fieller, Hartley and Pearson
    (Biometrika 44, 1957).
    """
    if n <= 3:
        return 1.0
    z = math.atanh(max(-1.0, min(correlation, 1.0 - 1e-12))) if correlation > -1.0 else -math.inf
    return 0.5 * math.erfc(z * math.sqrt((n - 3) / 1.06) / math.sqrt(2.0))


def centered_ranks(values: Sequence[float] | Floats) -> Floats:
    """Return ranks less their mean, ties at their mean rank."""
    array = np.asarray(values, dtype=np.float64)
    below = (array[None, :] < array[:, None]).sum(axis=1)
    ties = (array[None, :] == array[:, None]).sum(axis=1)
    ranks: Floats = below + 0.5 * (ties - 1)
    centered: Floats = ranks - ranks.mean()
    return centered
