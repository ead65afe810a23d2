"""Layers by measured scores, in groups: the coarse stage as it was, and the cells of probes.

An exact one-dimensional k-means with k = 3 on the logarithm of the layers' scores, and multipliers
0.5, 1 and 2 of the reference rank for the low, middle and high group. It finds three groups in pure
noise too, so policy `coarse` no longer uses it (`policies/coarse.py`); `coarse_kmeans` does.

Rules for awkward scores:

- A score that is not finite is refused: it must never decide a rank.
- Scores below 1e-6 of the largest, zeros included, count as 1e-6 of the largest.
- Equal scores share a group (logarithms closer than 1e-9 count as equal).
- All scores equal (or all zero): every layer is middle. Two distinct values: low and high.
- Two groupings of equal cost: the one whose lower groups are smaller.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from hydra_mobile.core.errors import ConfigError

FLOOR = 1e-6
MULTIPLIERS = (0.5, 1.0, 2.0)
_FIRST_NUMBER = re.compile(r"^(?:.*?\.)?\d+(?=\.|$)")


def layer_of(name: str) -> str:
    """Return the layer of a module: its name up to the first number, or the name itself.

    `language_model.model.layers.0.self_attn.q_proj` -> `language_model.model.layers.0`
    """
    match = _FIRST_NUMBER.match(name)
    return match.group() if match else name


def by_layer(names: Sequence[str]) -> dict[str, list[str]]:
    """Group module names by layer, both in the order given."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(layer_of(name), []).append(name)
    return layers


def require_finite(scores: Mapping[str, float]) -> None:
    """Raise `ConfigError` unless every score is finite and not negative."""
    for name, score in scores.items():
        if not math.isfinite(score) or score < 0:
            raise ConfigError(
                f"The importance of `{name}` is {score}; expected a finite number >= 0.",
                "A loss or gradient overflowed: lower the batch or measure in fp32.",
            )


def layer_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Return each layer's score: the root of the summed squares of its modules' scores."""
    require_finite(scores)
    layers = by_layer(list(scores))
    return {layer: math.hypot(*(scores[n] for n in names)) for layer, names in layers.items()}


def layer_groups(scores: Mapping[str, float]) -> dict[str, int]:
    """Return 0, 1 or 2 for every layer: low, middle or high by its score.

    Args:
        scores: score by layer, as `layer_scores` returns them.
    """
    require_finite(scores)
    top = max(scores.values(), default=0.0)
    if top == 0.0:
        return dict.fromkeys(scores, 1)
    logs = {layer: round(math.log(max(s / top, FLOOR)), 9) for layer, s in scores.items()}
    groups = kmeans(list(logs.values()), k=len(MULTIPLIERS))
    used = {1: (1,), 2: (0, 2)}.get(max(groups) + 1, (0, 1, 2))
    return {layer: used[group] for layer, group in zip(logs, groups, strict=True)}


def layer_multipliers(scores: Mapping[str, float]) -> dict[str, float]:
    """Return 0.5, 1 or 2 for every layer, by the group of its score.

    Args:
        scores: score by layer, as `layer_scores` returns them.
    """
    return {layer: MULTIPLIERS[group] for layer, group in layer_groups(scores).items()}


def kmeans(values: Sequence[float], k: int) -> list[int]:
    """Return the optimal one-dimensional k-means group of every value, 0 for the lowest group.

    Exact, by dynamic programming over the sorted distinct values, O(k n^2); no random start.
    With fewer than k distinct values there are as many groups as values.

    Args:
        values: finite numbers.
        k: number of groups, at least 1.
    """
    distinct = sorted(set(values))
    weights = [sum(1 for v in values if v == d) for d in distinct]
    n, groups = len(distinct), min(k, len(distinct))
    best = [[math.inf] * (n + 1) for _ in range(groups + 1)]
    cut = [[0] * (n + 1) for _ in range(groups + 1)]
    best[0][0] = 0.0
    within = {
        (i, j): _spread(distinct[i:j], weights[i:j]) for j in range(1, n + 1) for i in range(j)
    }
    for g in range(1, groups + 1):
        for j in range(g, n + 1):
            for i in range(g - 1, j):
                total = best[g - 1][i] + within[i, j]
                # Strictly better only: of equals, the smaller lower groups stay.
                if total < best[g][j]:
                    best[g][j], cut[g][j] = total, i
    group_of: dict[float, int] = {}
    end = n
    for g in range(groups, 0, -1):
        start = cut[g][end]
        group_of.update((distinct[i], g - 1) for i in range(start, end))
        end = start
    return [group_of[v] for v in values]


def _spread(values: Sequence[float], weights: Sequence[int]) -> float:
    """Return the weighted sum of squared distances from the weighted mean."""
    total = sum(weights)
    mean = math.fsum(w * v for v, w in zip(values, weights, strict=True)) / total
    return math.fsum(w * (v - mean) ** 2 for v, w in zip(values, weights, strict=True))
