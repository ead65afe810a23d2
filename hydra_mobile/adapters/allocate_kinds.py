"""Scores relative to their kind of projection, and when scores differ at all.

Norms of different kinds of projection cannot be compared: an update of `down_proj` is smaller than
one of `v_proj` whatever either is worth. So a module's score counts relative to the geometric mean
of its kind, the last part of its name; multiplying the scores of a whole kind changes nothing.

A kind of fewer than `LEAST` modules has no mean to speak of: such kinds share one pool, in which
a score is divided by the size of its matrix. A pool that is still smaller says nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from hydra_mobile.adapters.allocate_layers import FLOOR, require_finite

LEAST = 3
APART = 0.2
"""Standard deviation of log scores below which they count as equal: 20% is what a mean of a few
noisy norms varies by."""
POOL = ""


def kind_of(name: str) -> str:
    """Return a module's kind of projection: `model.layers.0.self_attn.q_proj` -> `q_proj`."""
    return name.rpartition(".")[2]


def kinds_of(names: Iterable[str]) -> dict[str, str]:
    """Return every module's kind, `POOL` for kinds of fewer than `LEAST` modules."""
    own = {name: kind_of(name) for name in names}
    counts = Counter(own.values())
    return {name: kind if counts[kind] >= LEAST else POOL for name, kind in own.items()}


def relative_to_kind(scores: Mapping[str, float], cost: Mapping[str, int]) -> dict[str, float]:
    """Return each score over the geometric mean of its kind.

    Args:
        scores: importance by module. Below 1e-6 of the largest of its kind it counts as that; all
            zero counts as all equal.
        cost: parameters per rank by module; half of it stands for the size of a pooled matrix.

    Raises:
        ConfigError: a score is negative or not finite.
    """
    require_finite(scores)
    members: dict[str, list[str]] = {}
    for name, kind in kinds_of(scores).items():
        members.setdefault(kind, []).append(name)
    relative: dict[str, float] = {}
    for kind, names in members.items():
        own = {n: scores[n] / (0.5 * cost[n] if kind == POOL else 1.0) for n in names}
        top = max(own.values())
        if top == 0.0 or (kind == POOL and len(names) < LEAST):
            relative |= dict.fromkeys(names, 1.0)
            continue
        logs = {name: math.log(max(score / top, FLOOR)) for name, score in own.items()}
        mean = math.fsum(logs.values()) / len(logs)
        relative |= {name: math.exp(log - mean) for name, log in logs.items()}
    return {name: relative[name] for name in scores}


def are_apart(scores: Iterable[float]) -> bool:
    """Return whether positive scores differ by more than noise, see `APART`."""
    logs = [math.log(score) for score in scores]
    mean = math.fsum(logs) / len(logs)
    return math.sqrt(math.fsum((log - mean) ** 2 for log in logs) / len(logs)) >= APART
