"""From target ranks, which are real numbers, to integer ranks within an exact budget.

The rule is a divisor method. With utility sum_m cost_m * target_m * log(rank_m) a step of one
module from r to r + step gains, per parameter spent, target_m / (r + step) up to a constant. So we
take the largest common factor of the targets whose rounded-down ranks are affordable, then spend
what is left one step at a time on the module with the largest target / (rank + step) that still
fits. Ties go to the module named first. What is left in the end is smaller than the cheapest step
of any module below its upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hydra_mobile.core.errors import ConfigError


@dataclass(frozen=True)
class Grid:
    """The ranks a module may have: multiples of `step` from `lowest` to `highest`."""

    step: int
    lowest: int
    highest: int

    def __post_init__(self) -> None:
        fits = self.step >= 1 and 0 <= self.lowest <= self.highest and self.highest >= 1
        if not fits or self.lowest % self.step or self.highest % self.step:
            raise ConfigError(
                f"Ranks from {self.lowest} to {self.highest} in steps of {self.step} make no grid.",
                "Choose r_min and r_max as multiples of rank_step, r_min not above r_max.",
            )

    @classmethod
    def of(cls, r_ref: int, rank_step: int, r_min: int, r_max: int | None) -> Grid:
        """Return the grid of a run's settings; without `r_max` it ends at twice `r_ref`.

        Raises:
            ConfigError: they make no grid.
        """
        return cls(rank_step, r_min, r_max or 2 * r_ref // rank_step * rank_step)

    def down(self, rank: float) -> int:
        """Return the largest rank of the grid that is not above `rank`, at least `lowest`."""
        steps = math.floor(min(rank, self.highest) / self.step)
        return max(self.lowest, steps * self.step)

    def up(self, rank: float) -> int:
        """Return the smallest rank of the grid that is not below `rank`, at most `highest`."""
        steps = math.ceil(max(rank, self.lowest) / self.step)
        return min(self.highest, steps * self.step)


def project(
    target_ranks: Mapping[str, float],
    cost: Mapping[str, int],
    limit: int,
    grids: Mapping[str, Grid],
) -> dict[str, int]:
    """Return the grid ranks in proportion to `target_ranks` that cost at most `limit`.

    Args:
        target_ranks: target ranks, finite and not negative; only their proportions count.
        cost: parameters per rank.
        limit: parameters to spend.
        grids: the allowed ranks of each module.

    Raises:
        ConfigError: the lowest ranks already cost more than `limit`, or a target is not finite.
    """
    for name, target in target_ranks.items():
        if not math.isfinite(target) or target < 0:
            raise ConfigError(f"The target rank of `{name}` is {target}, expected a finite number.")
    factor = _largest_factor(target_ranks, cost, limit, grids)
    ranks = {name: grids[name].down(factor * target) for name, target in target_ranks.items()}
    lowest = sum(grids[name].lowest * cost[name] for name in target_ranks)
    if lowest > limit:
        raise ConfigError(
            f"The lowest ranks allowed cost {lowest:,} parameters, the budget is {limit:,}.",
            "Lower r_min, or raise r_ref.",
        )
    return fill(ranks, target_ranks, cost, limit, grids)


def fill(
    ranks: Mapping[str, int],
    target_ranks: Mapping[str, float],
    cost: Mapping[str, int],
    limit: int,
    grids: Mapping[str, Grid],
) -> dict[str, int]:
    """Return `ranks` raised step by step until no further step is affordable.

    See the module docstring for the order; arguments as in `project`.
    """
    raised = dict(ranks)
    left = limit - sum(rank * cost[name] for name, rank in raised.items())
    open_names = [n for n in raised if raised[n] + grids[n].step <= grids[n].highest]
    while open_names := [n for n in open_names if grids[n].step * cost[n] <= left]:
        # max() keeps the first of equals: ties go to the module named first.
        best = max(open_names, key=lambda n: target_ranks[n] / (raised[n] + grids[n].step))
        raised[best] += grids[best].step
        left -= grids[best].step * cost[best]
        if raised[best] + grids[best].step > grids[best].highest:
            open_names.remove(best)
    return raised


def _largest_factor(
    target_ranks: Mapping[str, float],
    cost: Mapping[str, int],
    limit: int,
    grids: Mapping[str, Grid],
) -> float:
    """Bisect for the largest common factor of the targets whose rounded-down ranks fit."""

    def spent(factor: float) -> int:
        return sum(grids[n].down(factor * target) * cost[n] for n, target in target_ranks.items())

    positive = [target for target in target_ranks.values() if target > 0]
    if not positive:
        return 0.0
    low, high = 0.0, max(grid.highest for grid in grids.values()) / min(positive)
    if not math.isfinite(high):
        high = 1e300
    if spent(high) <= limit:
        return high
    # In the logarithm: targets may differ by many orders of magnitude.
    floor, ceiling = math.log(high) - 80.0, math.log(high)
    for _ in range(64):
        middle = 0.5 * (floor + ceiling)
        if spent(math.exp(middle)) <= limit:
            floor = middle
            low = math.exp(middle)
        else:
            ceiling = middle
    return low
