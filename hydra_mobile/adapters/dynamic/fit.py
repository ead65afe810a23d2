"""The performance model: which change of ranks lowers the held-out loss, if that can be told.

A reconstruction: of the paper's model only "lightweight" is known. Ours is a small network with a
ridge as its baseline, and above all a gate: where the network does not predict observations it was
not trained on, nothing moves.

The network is a utility u(ranks, progress); the predicted gain of a move is
u(after, progress) - u(before, progress) + b. So what time alone does to the loss cancels, and no
map can win by being late. The ridge is linear in after - before and in its product with progress.

Predictions are judged by leaving one *event* out. With one candidate per event that is
leave-one-out. With several, their gains share the loss of the current map, and leaving one out
would let the others tell its noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from hydra_mobile.adapters.dynamic.data import (
    Floats,
    Integers,
    Observation,
    Prediction,
    Scale,
    time_column,
)
from hydra_mobile.adapters.dynamic.gate import (
    LEAST_EVENTS,
    LEAST_OBSERVATIONS,
    Gate,
    effective,
    judge,
)
from hydra_mobile.adapters.dynamic.networks import SEEDS, Networks, one_thread, train, utility
from hydra_mobile.core.errors import ConfigError

PENALTIES = tuple(10.0 ** (power / 2) for power in range(-4, 9))
Z = 1.645
"""The lower bound is one-sided, 95% if errors are normal."""


@dataclass(frozen=True)
class Fit:
    """A fitted model; `gate` says whether it may be acted upon."""

    gate: Gate
    _networks: Networks | None = field(default=None, repr=False)

    def predict(
        self, before: Sequence[float], afters: Sequence[Sequence[float]], progress: float
    ) -> list[Prediction]:
        """Predict the gain of going from one map to each of others.

        Where too little was observed to fit anything, the gain is 0 with an infinite spread.

        Args:
            before: features of the current map.
            afters: features of the other maps.
            progress: share of the training done.
        """
        if self._networks is None or not afters:
            return [Prediction(0.0, math.inf, -math.inf) for _ in afters]
        gains = self._networks.gains(before, afters, progress)
        error = self.gate.mlp_error if self.gate.mlp_error is not None else math.inf
        means = gains.mean(axis=0)
        doubt = self._networks.doubt(afters)
        spreads = np.sqrt(gains.var(axis=0, ddof=1) + error**2 + doubt**2)
        return [
            Prediction(float(mean), float(spread), float(mean - Z * spread))
            for mean, spread in zip(means, spreads, strict=True)
        ]


def fit(observations: Sequence[Observation], *, seed: int = 0) -> Fit:
    """Fit the networks and the ridge, and judge them on left-out events.

    Deterministic, and draws from no random stream but its own. All networks, those that leave an
    event out and those that do not, train as one batch: 0.2 to 0.4 s on one thread for 13 to 52
    observations. Observations without a finite gain do not count.

    Args:
        observations: in any order; those of equal `before` and `progress` are of one event.
        seed: of the networks' first weights.

    Raises:
        ConfigError: observations have different numbers of features.
    """
    known = [o for o in observations if math.isfinite(o.gain)]
    n = len(known)
    if len({len(ranks) for o in known for ranks in (o.before, o.after)}) > 1:
        raise ConfigError("The observations of the ranks' effect are of different sets of cells.")
    if n < LEAST_OBSERVATIONS:
        return Fit(Gate(False, f"{n} observations, at least {LEAST_OBSERVATIONS} are needed", n))
    events: dict[tuple[tuple[float, ...], float], int] = {}
    event = np.array([events.setdefault((o.before, o.progress), len(events)) for o in known])
    if len(events) < LEAST_EVENTS:
        return Fit(Gate(False, f"{len(events)} events, at least {LEAST_EVENTS} are needed", n))
    gains = np.array([o.gain for o in known])
    if gains.min() == gains.max():
        return Fit(Gate(False, "all measured gains are equal", n))

    scale = Scale.of(known)
    outside = np.stack([event != left_out for left_out in range(len(events))])
    constant = (outside @ gains / outside.sum(axis=1))[event]
    with one_thread():
        networks, predicted = _left_out_predictions(known, gains, event, outside, scale, seed)
    worth = effective(np.bincount(event).tolist())
    gate = judge(gains, predicted, _ridge(known, gains, event, scale), constant, worth)
    return Fit(gate, networks)


def decide(
    model: Fit, before: Sequence[float], afters: Sequence[Sequence[float]], progress: float
) -> int | None:
    """Return the index of the move to make, or None to keep the map.

    It is the move with the largest lower bound, if the gate is passed and that bound is above 0.
    Arguments as for `Fit.predict`.
    """
    if not model.gate.passed or not afters:
        return None
    lower = [prediction.lower for prediction in model.predict(before, afters, progress)]
    # max() keeps the first of equals.
    best = max(range(len(lower)), key=lambda index: lower[index])
    return best if lower[best] > 0 else None


def _left_out_predictions(
    observations: Sequence[Observation],
    gains: Floats,
    event: Integers,
    outside: NDArray[np.bool_],
    scale: Scale,
    seed: int,
) -> tuple[Networks, Floats]:
    """Train all networks; return those that saw everything, and each event as others predict it."""
    n, unit = len(gains), float(gains.std())
    index: dict[tuple[tuple[float, ...], float], int] = {}
    before = [index.setdefault((o.before, o.progress), len(index)) for o in observations]
    after = [index.setdefault((o.after, o.progress), len(index)) for o in observations]
    rows = scale.rows([ranks for ranks, _ in index], [progress for _, progress in index])
    # utility @ change = utility after - utility before. Gathering the two is far slower backwards.
    change = torch.zeros(len(index), n)
    for column, (start, end) in enumerate(zip(before, after, strict=True)):
        change[end, column] += 1.0
        change[start, column] -= 1.0

    used = np.concatenate([outside, np.ones((1, n), dtype=bool)])
    level = used @ gains / used.sum(axis=1)
    weights = train(
        rows,
        change,
        torch.from_numpy((gains - level[:, None]) / unit).to(torch.float32),
        torch.from_numpy(used / used.sum(axis=1, keepdims=True)).to(torch.float32),
        seed,
    )
    with torch.no_grad():
        predicted = (utility(weights, rows) @ change + weights[-1]).double().numpy()
    by_fold = predicted.reshape(len(used), SEEDS, n).mean(axis=1) * unit + level[:, None]
    last = [w[-SEEDS:].clone() for w in weights]
    seen = np.array([ranks for ranks, _ in index])
    networks = Networks(scale, last, unit, float(level[-1]), seen.min(axis=0), seen.max(axis=0))
    return networks, by_fold[event, np.arange(n)]


def _ridge(
    observations: Sequence[Observation], gains: Floats, event: Integers, scale: Scale
) -> Floats:
    """Return each event as a ridge predicts it that was fitted to the others, in closed form.

    For a linear smoother with hat matrix H and residuals r the left-out residuals of event g are
    (I - H_gg)^-1 r_g. The penalty is the one with the smallest left-out error, which flatters the
    ridge a little: the network has to beat that.
    """
    before = np.array([o.before for o in observations])
    change = (np.array([o.after for o in observations]) - before) / scale.unit
    inputs = np.concatenate(
        [change, change * time_column([o.progress for o in observations])], axis=1
    )
    inputs = inputs - inputs.mean(axis=0)
    products = inputs @ inputs.T
    one = np.eye(len(gains))
    best, least = gains, math.inf
    for penalty in PENALTIES:
        # 1/n is the intercept, which is not penalized.
        hat = products @ np.linalg.inv(products + penalty * one) + 1.0 / len(gains)
        residuals = gains - hat @ gains
        predicted = np.empty_like(gains)
        for left_out in range(int(event.max()) + 1):
            mine = np.flatnonzero(event == left_out)
            inner = one[np.ix_(mine, mine)] - hat[np.ix_(mine, mine)]
            predicted[mine] = gains[mine] - np.linalg.solve(inner, residuals[mine])
        error = float(np.mean((predicted - gains) ** 2))
        if error < least:
            best, least = predicted, error
    return best
