"""What the performance model learns from and answers with, and the scale of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Observation:
    """One comparison of two maps at one time.

    Attributes:
        before: features of the current map.
        after: features of the map compared with it, as many.
        progress: share of the training done, 0 to 1.
        gain: held-out loss of `before` minus that of `after`; positive says `after` is better.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    progress: float
    gain: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `from_json` reads them back without loss."""
        return {
            "before": list(self.before),
            "after": list(self.after),
            "progress": self.progress,
            "gain": self.gain,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Observation:
        """Read what `to_json` returned."""
        return cls(
            tuple(float(rank) for rank in value["before"]),
            tuple(float(rank) for rank in value["after"]),
            float(value["progress"]),
            float(value["gain"]),
        )


@dataclass(frozen=True)
class Prediction:
    """What a move is expected to gain, in units of the loss.

    Attributes:
        gain: mean over the networks.
        spread: root of the networks' variance, plus the squared error on left-out events, plus
            the square of two standard deviations of the measured gains for every typical change
            by which the map leaves the ranks that were seen of a cell.
        lower: gain - 1.645 spread. The spread is that of a single new measurement, wider than
            that of the true gain: acting needs a clear gain.
    """

    gain: float
    spread: float
    lower: float


@dataclass(frozen=True)
class Scale:
    """Brings features to the size of the changes that were seen, so that one step is about 1."""

    center: Floats
    unit: float

    @classmethod
    def of(cls, observations: Sequence[Observation]) -> Scale:
        """Return the scale of some observations, at least one."""
        before = np.array([o.before for o in observations])
        change = np.array([o.after for o in observations]) - before
        moved = change[change != 0.0]
        unit = float(np.sqrt(np.mean(moved**2))) if moved.size else 1.0
        return cls(before.mean(axis=0), unit)

    def rows(self, features: Sequence[Sequence[float]], progress: Sequence[float]) -> Tensor:
        """Return the network's inputs, float32 of shape (maps, features + 1)."""
        scaled = (np.array(features) - self.center) / self.unit
        column = time_column(progress)
        return torch.from_numpy(np.concatenate([scaled, column], axis=1)).to(torch.float32)


def time_column(progress: Sequence[float]) -> Floats:
    """Return progress as a column from -1 to 1."""
    column: Floats = 2.0 * np.array(progress, dtype=np.float64)[:, None] - 1.0
    return column
