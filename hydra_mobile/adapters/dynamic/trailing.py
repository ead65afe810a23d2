"""Rule `trailing`: compare the last directions of modules, and move where they differ widely.

If the loss is concave in a module's rank, its next direction is worth about what its last one is.
So a grid step goes from the modules whose last directions are worth least to the one whose last
are worth most, relative to their kind, and only where they differ by a wide margin: a margin near
one makes every event move, and costs half of the loss where nothing is to be gained.

Our own rule and constants; nothing of it is from HyDRA's paper. Knows ranks, costs and numbers
only: no tensor, no model.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.allocate_kinds import kinds_of
from hydra_mobile.adapters.budget import Budget

FLOOR = 1e-12

Worth = Callable[[str, int], float]
"""Of a module and a rank: what a direction of the last grid step is worth at that rank, per
parameter. Without unit; only ratios count."""


@dataclass(frozen=True)
class Exchange:
    """A grid step that one module gets and others pay for.

    Attributes:
        target: the module that grows by a grid step.
        sources: those that shrink, a grid step for every mention; none where what was left
            unspent pays.
        ratio: what the target's step is worth over what the sources' are; infinite where nothing
            was given up.
    """

    target: str
    sources: tuple[str, ...]
    ratio: float


@dataclass(frozen=True)
class Plan:
    """What an event would do.

    Attributes:
        ranks: every module's rank afterwards.
        made: the exchanges, in order.
        refused: the first exchange whose ratio was below the margin, if there was one.
        why: a phrase: what ended the list.
    """

    ranks: dict[str, int]
    made: tuple[Exchange, ...]
    refused: Exchange | None
    why: str


class Tails:
    """What the last directions of every module carry, relative to their kind.

    tail_m(q) = mean of sigma^2 over the last `step` directions of the first q; e_k = mean over the
    modules of kind k of (sum of sigma^2 / rank); worth = tail_m(q) / e_kind(m). A kind of fewer
    than three modules shares a pool with others like it.

    Args:
        spectrum: singular values of s B A by module, falling, one per rank.
        step: ranks of a grid step.
    """

    def __init__(self, spectrum: Mapping[str, Sequence[float]], step: int) -> None:
        self._spectrum = spectrum
        self._step = step
        self._kinds = kinds_of(spectrum)
        energies: dict[str, list[float]] = {}
        for name, kind in self._kinds.items():
            values = spectrum[name]
            energies.setdefault(kind, []).append(math.fsum(s * s for s in values) / len(values))
        self._energy = {k: math.fsum(v) / len(v) + FLOOR for k, v in energies.items()}

    def tail(self, name: str, rank: int) -> float:
        """Return the mean energy of the last grid step's directions, in units of sigma^2."""
        last = self._spectrum[name][max(0, rank - self._step) : rank]
        return math.fsum(s * s for s in last) / self._step

    def worth(self, name: str, rank: int) -> float:
        """Return it over the mean energy of a direction of the module's kind."""
        return self.tail(name, rank) / self._energy[self._kinds[name]]

    def head(self, name: str) -> float:
        """Return the share of a module's energy that is in its first direction."""
        values = self._spectrum[name]
        total = math.fsum(s * s for s in values)
        return values[0] ** 2 / total if total > 0 else 0.0


def exchanges(
    ranks: Mapping[str, int],
    worth: Worth,
    budget: Budget,
    grid: Grid,
    *,
    margin: float,
    share: float,
) -> Plan:
    """Return the exchanges of one event.

    The target is the module whose last directions are worth most, times rank / pending rank, so
    that it falls while the module grows; sources are those whose last are worth least. A module
    never gains and loses in one event, ties go to the module named first, and the budget holds
    after every exchange. What is left unspent and pays for a whole step alone is spent without
    asking the margin.

    Args:
        ranks: the current map.
        worth: see `Worth`.
        budget: the parameter budget.
        grid: the ranks that modules may have.
        margin: how many times more the target's step must be worth than what is given up.
        share: of the parameters in use; no further exchange begins once so many were given.
    """
    step, cost = grid.step, budget.cost
    pending = dict(ranks)
    used = sum(rank * cost[name] for name, rank in ranks.items())
    limit = share * used
    given = 0
    made: list[Exchange] = []
    while given < limit:
        targets = [m for m in pending if ranks[m] <= pending[m] <= grid.highest - step]
        if not targets:
            return Plan(pending, tuple(made), None, "no module can grow")
        rates = {m: worth(m, ranks[m]) * ranks[m] / pending[m] for m in targets}
        target = max(targets, key=rates.__getitem__)
        price = step * cost[target]
        trial, free, lost = dict(pending), budget.reference - used, 0.0
        sources: list[str] = []
        while free < price:
            able = [m for m in trial if m != target and grid.lowest + step <= trial[m] <= ranks[m]]
            if not able:
                return Plan(pending, tuple(made), None, "no module can shrink")
            source = min(able, key=lambda m: worth(m, trial[m]))
            lost += worth(source, trial[source]) * step * cost[source]
            trial[source] -= step
            free += step * cost[source]
            sources.append(source)
        value = rates[target] * price
        ratio = value / lost if lost > 0 else math.inf
        exchange = Exchange(target, tuple(sources), ratio)
        if value < margin * lost:
            return Plan(pending, tuple(made), exchange, "the margin")
        trial[target] += step
        pending, given = trial, given + price
        used = sum(rank * cost[name] for name, rank in pending.items())
        made.append(exchange)
    return Plan(pending, tuple(made), None, "the event's share of the budget")


def drawn_drop(
    ranks: Mapping[str, int],
    smaller: Mapping[str, int],
    budget: Budget,
    grid: Grid,
    generator: random.Random,
) -> dict[str, int]:
    """Return ranks that drop as many parameters as `smaller` does, of modules drawn at random.

    A grid step at a time, until no less is dropped or no module can shrink; so up to one grid step
    more than `smaller` drops.

    Args:
        ranks: the current map.
        smaller: the ranks of the modules that an event shrinks.
        budget: the cost of a rank in each module.
        grid: the ranks that modules may have.
        generator: draws.
    """
    left = sum((ranks[name] - rank) * budget.cost[name] for name, rank in smaller.items())
    found: dict[str, int] = {}
    while left > 0:
        able = [n for n in ranks if found.get(n, ranks[n]) - grid.step >= grid.lowest]
        if not able:
            break
        name = generator.choice(able)
        found[name] = found.get(name, ranks[name]) - grid.step
        left -= grid.step * budget.cost[name]
    return found
