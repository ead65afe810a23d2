"""Passive observations: what a map is worth, read off the run's own held-out losses.

The loss falls with time, so any later map "wins" by its raw loss; the smooth trend has to go first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hydra_mobile.adapters.dynamic.data import Observation

DEGREE = 2


def detrended(steps: Sequence[int], losses: Sequence[float]) -> list[float]:
    """Return the losses less a smooth trend: the least-squares quadratic in log(step).

    A run yields about one such residual per event, 13 in all, and the performance model wants at
    least 12 before it acts: passive observations can hardly ever act within a single run. Three
    points or fewer lie on their own trend: all residuals are zero. The trend is fitted to all
    points, so what a map does in the same direction as time is lost with it.

    Args:
        steps: optimizer steps at which the losses were measured, each at least 1.
        losses: held-out losses, finite.

    Raises:
        ValueError: a step is below 1, or the lengths differ.
    """
    if any(step < 1 for step in steps):
        raise ValueError(f"steps start at 1, got {min(steps)}")
    if len(losses) <= DEGREE + 1:
        if len(losses) != len(steps):
            raise ValueError(f"{len(steps)} steps and {len(losses)} losses")
        return [0.0] * len(losses)
    time = np.array([math.log(step) for step in steps])
    # Centered and scaled: the least squares are then well conditioned.
    time = (time - time.mean()) / (time.std() or 1.0)
    powers = np.stack([time**power for power in range(DEGREE + 1)], axis=1)
    measured = np.array(losses, dtype=np.float64)
    trend = powers @ np.linalg.lstsq(powers, measured, rcond=None)[0]
    return [float(residual) for residual in measured - trend]


def passive_observations(
    features: Sequence[Sequence[float]],
    losses: Sequence[float],
    steps: Sequence[int],
    total_steps: int,
) -> list[Observation]:
    """Return one observation per event: the map of that event against the mean map of all.

    `before` is the mean of the features, so that with one map throughout there is nothing to
    learn from; the gain is minus the detrended loss. See `detrended` for why these can hardly
    ever act within one run.

    Args:
        features: of the current map before each event, as `Cells.features` gives them.
        losses: held-out loss at each event.
        steps: optimizer step of each event.
        total_steps: steps of the run, for the progress.
    """
    if not features:
        return []
    mean = tuple(math.fsum(column) / len(features) for column in zip(*features, strict=True))
    residuals = detrended(steps, losses)
    return [
        Observation(mean, tuple(after), step / total_steps, -residual)
        for after, step, residual in zip(features, steps, residuals, strict=True)
    ]
