"""Lines through the points, and what they say about models that were not measured.

Least squares on relative errors (each row is divided by what was measured), so that a point of a
second counts as much as one of ten minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Line:
    """`sum of coefficients[k] * features[k]`, where feature "one" is 1.

    Attributes:
        coefficients: feature -> coefficient.
        residuals: measured over fitted, less 1, in the order of the points.
        points: how many.
    """

    coefficients: dict[str, float]
    residuals: list[float]
    points: int

    @property
    def worst(self) -> float:
        """Largest relative residual, without its sign."""
        return max(map(abs, self.residuals))

    def at(self, features: Mapping[str, float]) -> float:
        """Return the line's value."""
        given = {"one": 1.0, **features}
        return sum(c * given[name] for name, c in self.coefficients.items())

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON stores."""
        return {**asdict(self), "worst": self.worst}


def fit(rows: Sequence[Mapping[str, float]], features: Sequence[str], target: str) -> Line | None:
    """Fit `target` to `features` and a constant; None: fewer than two points a coefficient.

    Args:
        rows: each has the features and the positive target.
        features: names, "one" left out.
        target: name.
    """
    # Four points through three coefficients once gave an export of minus 44 minutes.
    if len(rows) < 2 * (len(features) + 1):
        return None
    names = ["one", *features]
    x = np.array([[1.0, *(row[name] for name in features)] for row in rows])
    y = np.array([row[target] for row in rows])
    # Columns of very different size would otherwise lose digits.
    scale = np.abs(x / y[:, None]).max(axis=0)
    solved, *_ = np.linalg.lstsq(x / y[:, None] / scale, np.ones(len(y)), rcond=None)
    coefficients = solved / scale
    fitted = x @ coefficients
    return Line(
        {name: float(c) for name, c in zip(names, coefficients, strict=True)},
        [float(a / b - 1) for a, b in zip(y, fitted, strict=True)],
        len(rows),
    )
