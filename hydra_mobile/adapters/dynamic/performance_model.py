"""The performance model: which change of ranks lowers the held-out loss, if that can be told.

A reconstruction: of the paper's model only "lightweight" is known. Ours is a small network with a
ridge as its baseline, and above all a gate: where the network does not predict observations it was
not trained on, nothing moves.

The network is a utility u(ranks, progress); the predicted gain of a move is
u(after, progress) - u(before, progress) + b. So what time alone does to the loss cancels, and no
map can win by being late. The ridge is linear in after - before and in its product with progress.

Predictions are judged by leaving one *event* out. With one candidate per event that is
leave-one-out. With several, their gains share the loss of the map in force, and leaving one out
would let the others tell its noise.

What the gate must withstand is gains that are pure noise: at 13 events, deciding at every event
from 12 observations on, at most 5 % of runs may act. The three conditions of the specification (at
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hydra_mobile.core.errors import ConfigError

LEAST_OBSERVATIONS = 12
LEAST_EVENTS = 3
LEAST_SPEARMAN = 0.3
MOST_CHANCE = 0.01
"""Largest one-sided p-value of the correlation. Not 5 %: a run decides up to eleven times."""

HIDDEN = 32
SEEDS = 5
EPOCHS = 200
LEARNING_RATE = 1e-2
PENALTIES = tuple(10.0 ** (power / 2) for power in range(-4, 9))
Z = 1.645
"""The lower bound is one-sided, 95 % if errors are normal."""

DOUBT = 2.0
"""Standard deviations of the gains per typical change beyond the ranks seen."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Observation:
    """One comparison of two maps at one time.

    Attributes:
        before: features of the map in force.
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


@dataclass(frozen=True)
class Fit:
    """A fitted model; `gate` says whether it may be acted upon."""

    gate: Gate
    _networks: _Networks | None = field(default=None, repr=False)

    def predict(
        self, before: Sequence[float], afters: Sequence[Sequence[float]], progress: float
    ) -> list[Prediction]:
        """Predict the gain of going from one map to each of others.

        Where too little was observed to fit anything, the gain is 0 with an infinite spread.

        Args:
            before: features of the map in force.
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

    scale = _Scale.of(known)
    outside = np.stack([event != left_out for left_out in range(len(events))])
    constant = (outside @ gains / outside.sum(axis=1))[event]
    with _one_thread():
        networks, predicted = _left_out_predictions(known, gains, event, outside, scale, seed)
    worth = effective(np.bincount(event).tolist())
    gate = _gate(gains, predicted, _ridge(known, gains, event, scale), constant, worth)
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


def spearman(one: Sequence[float] | Floats, other: Sequence[float] | Floats) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; 0 if one side is constant."""
    x, y = _centered_ranks(one), _centered_ranks(other)
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size else 0.0


def effective(sizes: Sequence[int]) -> float:
    """Return how many independent observations those of events of these sizes are worth.

    The gains of one event share the loss of the map in force, which is half of their variance if
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


def _gate(gains: Floats, mlp: Floats, ridge: Floats, constant: Floats, worth: float) -> Gate:
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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, so that results do not depend on the number of cores.

    Matrices of 32 x 32 are too small for more: on a busy machine threads wait ten times as long
    for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Scale:
    """Brings features to the size of the changes that were seen, so that one step is about 1."""

    center: Floats
    unit: float

    @classmethod
    def of(cls, observations: Sequence[Observation]) -> _Scale:
        before = np.array([o.before for o in observations])
        change = np.array([o.after for o in observations]) - before
        moved = change[change != 0.0]
        unit = float(np.sqrt(np.mean(moved**2))) if moved.size else 1.0
        return cls(before.mean(axis=0), unit)

    def rows(self, features: Sequence[Sequence[float]], progress: Sequence[float]) -> Tensor:
        """Return the network's inputs, float32 of shape (maps, features + 1)."""
        scaled = (np.array(features) - self.center) / self.unit
        time = _time(progress)
        return torch.from_numpy(np.concatenate([scaled, time], axis=1)).to(torch.float32)


@dataclass(frozen=True)
class _Networks:
    """The networks that left nothing out, one per seed."""

    scale: _Scale
    weights: list[Tensor]
    unit: float
    level: float
    lowest: Floats
    highest: Floats

    def doubt(self, afters: Sequence[Sequence[float]]) -> Floats:
        """Return the spread that extrapolation adds, one per map.

        What a cell is worth at ranks that nobody tried there, the networks cannot know, and they
        agree on it all the same: their variance does not show it.
        """
        ranks = np.array(afters, dtype=np.float64)
        beyond = np.maximum(self.lowest - ranks, 0.0) + np.maximum(ranks - self.highest, 0.0)
        doubt: Floats = DOUBT * self.unit * beyond.sum(axis=1) / self.scale.unit
        return doubt

    def gains(
        self, before: Sequence[float], afters: Sequence[Sequence[float]], progress: float
    ) -> Floats:
        """Return predicted gains, of shape (seeds, maps)."""
        rows = self.scale.rows([before, *afters], [progress] * (len(afters) + 1))
        with torch.no_grad(), _one_thread():
            utility = _utility(self.weights, rows)
            change = utility[:, 1:] - utility[:, :1] + self.weights[-1]
        predicted: Floats = change.double().numpy() * self.unit + self.level
        return predicted


def _left_out_predictions(
    observations: Sequence[Observation],
    gains: Floats,
    event: Integers,
    outside: NDArray[np.bool_],
    scale: _Scale,
    seed: int,
) -> tuple[_Networks, Floats]:
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
    weights = _train(
        rows,
        change,
        torch.from_numpy((gains - level[:, None]) / unit).to(torch.float32),
        torch.from_numpy(used / used.sum(axis=1, keepdims=True)).to(torch.float32),
        seed,
    )
    with torch.no_grad():
        predicted = (_utility(weights, rows) @ change + weights[-1]).double().numpy()
    by_fold = predicted.reshape(len(used), SEEDS, n).mean(axis=1) * unit + level[:, None]
    last = [w[-SEEDS:].clone() for w in weights]
    seen = np.array([ranks for ranks, _ in index])
    networks = _Networks(scale, last, unit, float(level[-1]), seen.min(axis=0), seen.max(axis=0))
    return networks, by_fold[event, np.arange(n)]


def _train(rows: Tensor, change: Tensor, targets: Tensor, share: Tensor, seed: int) -> list[Tensor]:
    """Train folds x seeds networks side by side, by Adam on all observations at once.

    The gradient is written out and the optimizer is our own: torch's first optimizer of a process
    imports a compiler, which takes longer than a whole run's fits. Adam works element by element,
    so networks that share it do not touch each other.

    Args:
        rows: inputs, (maps, inputs).
        change: (maps, observations), see above.
        targets: (folds, observations).
        share: weight of each observation in each fold's loss, 0 for those left out.
        seed: of the first weights, which are the same in all folds.

    Returns:
        Weights with a leading dimension of folds x seeds, the seeds of one fold together.
    """
    share = share.repeat_interleave(SEEDS, dim=0)
    targets = targets.repeat_interleave(SEEDS, dim=0)
    first = _first_weights(rows.shape[1], len(share) // SEEDS, seed)
    sizes = [weight[0].numel() for weight in first]
    flat = torch.cat([weight.flatten(1) for weight in first], dim=1)
    parts = torch.split(flat, sizes, 1)
    weights = [part.view_as(weight) for part, weight in zip(parts, first, strict=True)]
    mean, square = torch.zeros_like(flat), torch.zeros_like(flat)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for epoch in range(1, EPOCHS + 1):
            gradients = _gradients(weights, rows, change, targets, share)
            gradient = torch.cat([g.flatten(1) for g in gradients], dim=1)
            mean.lerp_(gradient, 0.1)
            square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            size = (square / (1.0 - 0.999**epoch)).sqrt_().add_(1e-8)
            flat.addcdiv_(mean, size, value=-LEARNING_RATE / (1.0 - 0.9**epoch))
    return weights


def _gradients(
    weights: Sequence[Tensor], rows: Tensor, change: Tensor, targets: Tensor, share: Tensor
) -> list[Tensor]:
    """Return the gradient of sum(share (predicted - targets)^2) by every weight."""
    hidden = _hidden(weights, rows)
    predicted = torch.bmm(hidden[-1], weights[6]).squeeze(2) @ change + weights[7]
    slope = 2.0 * share * (predicted - targets)
    by_utility = (slope @ change.T).unsqueeze(2)
    gradients = [torch.bmm(hidden[-1].mT, by_utility), slope.sum(dim=1, keepdim=True)]
    by_hidden = by_utility * weights[6].mT
    for layer in (2, 1, 0):
        # The sign of a ReLU's output, 0 or 1, is its derivative.
        by_hidden = by_hidden * hidden[layer + 1].sign()
        by_weight = torch.bmm(hidden[layer].mT, by_hidden)
        gradients = [by_weight, by_hidden.sum(dim=1, keepdim=True), *gradients]
        if layer:
            by_hidden = torch.bmm(by_hidden, weights[2 * layer].mT)
    return gradients


def _first_weights(inputs: int, folds: int, seed: int) -> list[Tensor]:
    """Draw weights and biases uniformly from +-1/sqrt(inputs); the scalar b starts at 0."""
    generator = torch.Generator("cpu").manual_seed(seed)
    weights = []
    sizes = [(inputs, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)]
    for fan_in, fan_out in sizes:
        bound = 1.0 / math.sqrt(fan_in)
        for height in (fan_in, 1):
            draw = torch.rand(SEEDS, height, fan_out, generator=generator) * 2.0 - 1.0
            weights.append((draw * bound).repeat(folds, 1, 1))
    # The last layer's bias cancels in the difference of utilities; b takes its place.
    weights[-1] = torch.zeros(SEEDS * folds, 1)
    return weights


def _hidden(weights: Sequence[Tensor], rows: Tensor) -> list[Tensor]:
    """Return the inputs and the three hidden layers, each (networks, maps, width)."""
    hidden = [rows.expand(len(weights[0]), -1, -1)]
    for weight, bias in zip(weights[0:6:2], weights[1:6:2], strict=True):
        hidden.append(torch.relu(torch.baddbmm(bias, hidden[-1], weight)))
    return hidden


def _utility(weights: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Return every network's utility of every row, (networks, maps)."""
    return torch.bmm(_hidden(weights, rows)[-1], weights[6]).squeeze(2)


def _ridge(
    observations: Sequence[Observation], gains: Floats, event: Integers, scale: _Scale
) -> Floats:
    """Return each event as a ridge predicts it that was fitted to the others, in closed form.

    For a linear smoother with hat matrix H and residuals r the left-out residuals of event g are
    (I - H_gg)^-1 r_g. The penalty is the one with the smallest left-out error, which flatters the
    ridge a little: the network has to beat that.
    """
    before = np.array([o.before for o in observations])
    change = (np.array([o.after for o in observations]) - before) / scale.unit
    inputs = np.concatenate([change, change * _time([o.progress for o in observations])], axis=1)
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


def _time(progress: Sequence[float]) -> Floats:
    """Return progress as a column from -1 to 1."""
    column: Floats = 2.0 * np.array(progress, dtype=np.float64)[:, None] - 1.0
    return column


def _centered_ranks(values: Sequence[float] | Floats) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    below = (array[None, :] < array[:, None]).sum(axis=1)
    ties = (array[None, :] == array[:, None]).sum(axis=1)
    ranks: Floats = below + 0.5 * (ties - 1)
    centered: Floats = ranks - ranks.mean()
    return centered
