"""The performance model: what the last directions of a module are worth in loss.

It learns during the run from measured outcomes: the rise of the held-out loss, forward passes only,
when the last directions of a cell of modules are left out. It corrects the rule (`trailing.py`)
instead of replacing it: the logarithm of the loss per parameter is the rule's plus a ridge on kind
of projection, depth, rank, tail and head of the spectrum. With few outcomes, or outcomes that say
nothing, the correction is small and the order is the rule's.

Whether it may decide is judged on left-out events: it must rank their outcomes better than the rule
does, and not by chance. Only differences inside an event count, since the loss falls meanwhile.

That is not yet a reason to act: on the planted worlds it ranks outcomes better and moves in the
control, where the rule keeps still (docs/ranks.md). It is therefore off by default.

Our own construction; of the model in HyDRA's paper nothing is known but that it is lightweight.
Measured and left out: the gradient's energy outside of the adapter's span, which added nothing to
the rank correlation on planted worlds and needs the gradient of the frozen weight.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hydra_mobile.adapters.allocate_kinds import kind_of
from hydra_mobile.adapters.allocate_layers import layer_of
from hydra_mobile.adapters.dynamic.cells import Cells, groups_of, label
from hydra_mobile.adapters.dynamic.data import Floats, Integers
from hydra_mobile.adapters.dynamic.gate import MOST_CHANCE, centered_ranks, chance, correlation
from hydra_mobile.adapters.dynamic.trailing import FLOOR, Tails

LEAST_OUTCOMES = 16
LEAST_EVENTS = 2
LEAST_LEAD = 0.05
"""By how much its rank correlation on left-out events must exceed the rule's."""
NOISE = 0.05
"""An outcome below this share of the median outcome's size counts as that: what noise makes
negative has no logarithm."""
CAUTION = 0.5
"""Share of the correction that counts in a decision. What is cheap to leave out now may be needed
later, so the rule, which asks what is used, keeps the other half of the say. In a trial on two
seeds of the planted control, every module measured, the whole correction cost 13% of the loss, the
half 3%."""
PENALTIES = tuple(10.0 ** (power / 2) for power in range(-2, 7))


@dataclass(frozen=True)
class Outcome:
    """What leaving out the last directions of a cell did to the held-out loss.

    Attributes:
        step: optimizer steps done; outcomes of one step are of one event.
        cell: third of the depth and kind of projection, "low/q_proj".
        rule: logarithm of what the rule says of a parameter of those directions.
        features: see `Statistics.features`.
        rise: of the held-out loss, in nats per parameter; negative where it fell.
    """

    step: int
    cell: str
    rule: float
    features: tuple[float, ...]
    rise: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, which `from_json` reads back without loss."""
        return asdict(self) | {"features": list(self.features)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outcome:
        """Read what `to_json` returned."""
        return cls(**{**value, "features": tuple(float(x) for x in value["features"])})


class Statistics:
    """What the model is told of modules at an event.

    Args:
        tails: of the live adapters.
        ranks: the current map, in the order of the layers.
    """

    def __init__(self, tails: Tails, ranks: Mapping[str, int]) -> None:
        self._tails = tails
        layers = list(dict.fromkeys(layer_of(name) for name in ranks))
        last = max(1, len(layers) - 1)
        self._depth = {name: layers.index(layer_of(name)) / last for name in ranks}
        self._kinds = sorted({kind_of(name) for name in ranks})

    def rule(self, name: str, rank: int) -> float:
        """Return the logarithm of the rule's worth of a module's last directions at a rank."""
        return math.log(max(self._tails.worth(name, rank), FLOOR))

    def features(self, name: str, rank: int) -> tuple[float, ...]:
        """Return depth, rank, tail and head of the spectrum, and the kind, each of size about 1."""
        kind = kind_of(name)
        return (
            self._depth[name],
            math.log(rank) if rank > 0 else 0.0,
            0.5 * math.log(max(self._tails.tail(name, rank), FLOOR)),
            2.0 * self._tails.head(name),
            *(float(kind == other) for other in self._kinds),
        )


@dataclass(frozen=True)
class Model:
    """A fitted model, and how it did on left-out events.

    Attributes:
        outcomes: how many it saw.
        passed: whether it may decide.
        reason: a phrase for people, in either case.
        spearman: rank correlation with left-out outcomes, inside events; None: not fitted.
        rule_spearman: the same of the bare rule.
        weights: of the features; none where nothing was fitted.
        level: logarithm of the loss per parameter, over what rule and weights say, at the last
            event.
    """

    outcomes: int
    passed: bool
    reason: str
    spearman: float | None = None
    rule_spearman: float | None = None
    weights: tuple[float, ...] = ()
    level: float = 0.0

    def loss_per_parameter(self, statistics: Statistics, name: str, rank: int) -> float:
        """Return the expected rise of the loss, in nats, for a parameter of last directions."""
        correction = self._correction(statistics, name, rank)
        return math.exp(self.level + statistics.rule(name, rank) + correction)

    def worth(self, statistics: Statistics, name: str, rank: int) -> float:
        """Return what a module's last directions are worth for a decision; see `CAUTION`."""
        correction = CAUTION * self._correction(statistics, name, rank)
        return math.exp(statistics.rule(name, rank) + correction)

    def _correction(self, statistics: Statistics, name: str, rank: int) -> float:
        features = statistics.features(name, rank)
        return math.fsum(w * x for w, x in zip(self.weights, features, strict=True))

    def facts(self) -> dict[str, Any]:
        """Return JSON values for the history."""
        return {
            "outcomes": self.outcomes,
            "takes_over": self.passed,
            "spearman": self.spearman,
            "rule_spearman": self.rule_spearman,
        }


class Cycle:
    """Which cells are measured at an event: all of them in turn, in an order drawn once.

    Args:
        names: adapted modules, in the order of the layers.
        seed: of the order.
    """

    def __init__(self, names: Sequence[str], seed: int) -> None:
        members = Cells.of(names, groups_of(names)).members()
        order = [(label(cell), tuple(own)) for cell, own in members.items()]
        random.Random(f"{seed}:drop_cost").shuffle(order)
        self.cells = tuple(order)

    def due(self, done: int, count: int) -> list[tuple[str, tuple[str, ...]]]:
        """Return the next `count` cells, as (label, modules), after `done` were measured."""
        return [self.cells[(done + i) % len(self.cells)] for i in range(count)]


def observed(
    step: int,
    cell: str,
    modules: Sequence[str],
    statistics: Statistics,
    ranks: Mapping[str, int],
    parameters: Mapping[str, int],
    rise: float,
) -> Outcome:
    """Return the outcome of leaving out the last directions of a cell's modules.

    Args:
        step: optimizer steps done.
        cell: the cell's label.
        modules: its modules.
        statistics: at this event.
        ranks: the current map.
        parameters: of the directions left out, by module.
        rise: of the held-out loss, in nats.
    """
    total = sum(parameters[name] for name in modules)
    shares = [parameters[name] / total for name in modules]
    rows = [statistics.features(name, ranks[name]) for name in modules]
    # The rule's worth is a mean over parameters: so is the cell's.
    worth = math.fsum(
        share * math.exp(statistics.rule(name, ranks[name]))
        for share, name in zip(shares, modules, strict=True)
    )
    mean = tuple(
        math.fsum(share * row[i] for share, row in zip(shares, rows, strict=True))
        for i in range(len(rows[0]))
    )
    return Outcome(step, cell, math.log(worth), mean, rise / total)


def fit(outcomes: Sequence[Outcome]) -> Model:
    """Fit the model in closed form, and judge it on left-out events.

    Deterministic. The penalty is the one with the smallest squared error on left-out events; the
    largest leaves the order to the rule.
    """
    known = [o for o in outcomes if math.isfinite(o.rise)]
    n, events = len(known), len({o.step for o in known})
    if n < LEAST_OUTCOMES or events < LEAST_EVENTS:
        reason = f"{n} outcomes of {events} events, {LEAST_OUTCOMES} of {LEAST_EVENTS} are needed"
        return Model(n, False, reason)
    rises = np.array([o.rise for o in known])
    typical = float(np.median(np.abs(rises)))
    if typical == 0.0:
        return Model(n, False, "leaving directions out changes nothing")
    event = np.unique([o.step for o in known], return_inverse=True)[1].astype(np.int64)
    rule = np.array([o.rule for o in known])
    inputs = _centered(np.array([o.features for o in known]), event)
    excess = np.log(np.maximum(rises, NOISE * typical)) - rule
    target = _centered(excess[:, None], event)[:, 0]

    best, penalty, predicted = math.inf, PENALTIES[-1], np.zeros(n)
    for candidate in PENALTIES:
        left_out = np.empty(n)
        for e in range(events):
            mine = event == e
            left_out[mine] = inputs[mine] @ _ridge(inputs[~mine], target[~mine], candidate)
        error = float(np.mean((left_out - target) ** 2))
        if error < best:
            best, penalty, predicted = error, candidate, left_out
    weights = _ridge(inputs, target, penalty)
    last = event == event[-1]
    rows = np.array([o.features for o in known])
    level = float(np.mean((excess - rows @ weights)[last]))

    ours = _within(rule + predicted, rises, event)
    theirs = _within(rule, rises, event)
    passed, reason = _judge(ours, theirs, n - events)
    return Model(n, passed, reason, ours, theirs, tuple(weights.tolist()), level)


def _judge(ours: float, theirs: float, free: int) -> tuple[bool, str]:
    said = f"rank correlation {ours:.2f} with left-out outcomes, the rule's is {theirs:.2f}"
    if ours < theirs + LEAST_LEAD:
        return False, f"ranks no better than the rule: {said}"
    if chance(ours, free) > MOST_CHANCE:
        return False, f"may be chance: {said}"
    return True, f"ranks better than the rule: {said}"


def _ridge(inputs: Floats, target: Floats, penalty: float) -> Floats:
    products = inputs.T @ inputs + penalty * np.eye(inputs.shape[1])
    weights: Floats = np.asarray(np.linalg.solve(products, inputs.T @ target), dtype=np.float64)
    return weights


def _centered(values: Floats, event: Integers) -> Floats:
    """Return values [n, k] less their mean inside each event."""
    centered: Floats = np.array(values, dtype=np.float64)
    for e in range(int(event.max()) + 1):
        centered[event == e] -= centered[event == e].mean(axis=0)
    return centered


def _within(one: Floats, other: Floats, event: Integers) -> float:
    """Return the rank correlation inside events, all events together; 0 if a side is constant."""
    x, y = np.empty(len(one)), np.empty(len(one))
    for e in range(int(event.max()) + 1):
        mine = event == e
        x[mine], y[mine] = centered_ranks(one[mine]), centered_ranks(other[mine])
    return correlation(x, y)
