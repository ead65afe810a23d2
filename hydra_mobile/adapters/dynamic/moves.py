"""Moves: the changes of a rank map that take parameters from one cell and give them to another.

Exact integers within the exact budget; knows costs, the grid and cells; knows nothing of losses or
of which move is good.

One move: every module of the source cell loses `size` grid steps, not below the lowest rank. What
this frees, with what the map left unspent, buys grid steps for the target cell's modules in turn,
lowest rank first. What then is left goes by the divisor rule of `allocate.py`, in proportion to
the ranks so far, to other cells, and back to the source only if nobody else can use it. So what
stays unspent is smaller than the cheapest step of any module below the highest rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_mobile.adapters.allocate import Grid, fill
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.dynamic.cells import Cell, Cells
from hydra_mobile.adapters.rank_map import RankMap


@dataclass(frozen=True)
class Move:
    """A parameter-neutral change and the map it leads to.

    Attributes:
        source: the cell that loses ranks.
        target: the cell that gains ranks.
        size: grid steps that every module of the source loses.
        rank_map: the whole map after the move.
    """

    source: Cell
    target: Cell
    size: int
    rank_map: RankMap


def candidate_moves(
    rank_map: RankMap, budget: Budget, grid: Grid, cells: Cells, sizes: Sequence[int] = (1, 2)
) -> list[Move]:
    """Return the moves around a map, in the order of sizes, sources and targets.

    Moves whose target gains nothing (it is at the highest rank, or what is freed buys no step)
    and moves that lead to the map of an earlier one are left out.

    Args:
        rank_map: the current map.
        budget: the parameter budget; no move's map costs more than its reference.
        grid: the ranks that modules may have, the same for all of them.
        cells: the cells of all modules of the budget.
        sizes: grid steps that a source's modules lose.

    Raises:
        BudgetError: the current map itself costs more than the reference.
    """
    slack = budget.reference - budget.check(rank_map)
    before = {name: rank_map.get(name, 0) for name in budget.cost}
    members = cells.members()
    seen = {tuple(before.values())}
    moves: list[Move] = []
    for size in sizes:
        for source in cells.cells:
            lowered = dict(before)
            for name in members[source]:
                lowered[name] = min(before[name], max(grid.lowest, before[name] - size * grid.step))
            freed = sum((before[n] - lowered[n]) * budget.cost[n] for n in members[source])
            if not freed:
                continue
            for target in cells.cells:
                if target == source:
                    continue
                ranks, left = _spend(lowered, members[target], budget, grid, freed + slack)
                if left == freed + slack:
                    continue
                ranks = _spend_rest(ranks, members[source], budget, grid, left)
                key = tuple(ranks.values())
                if key not in seen:
                    seen.add(key)
                    moves.append(Move(source, target, size, budget.rank_map(ranks)))
    return moves


def _spend(
    ranks: dict[str, int], names: Sequence[str], budget: Budget, grid: Grid, left: int
) -> tuple[dict[str, int], int]:
    """Raise `names` in turn, a grid step each, and return the ranks and what is left."""
    raised = dict(ranks)
    turn = sorted(names, key=lambda name: ranks[name])
    while turn := [
        n
        for n in turn
        if raised[n] + grid.step <= grid.highest and grid.step * budget.cost[n] <= left
    ]:
        for name in turn:
            price = grid.step * budget.cost[name]
            if price <= left:
                raised[name] += grid.step
                left -= price
    return raised, left


def _spend_rest(
    ranks: dict[str, int], source: Sequence[str], budget: Budget, grid: Grid, left: int
) -> dict[str, int]:
    """Spend what the target cannot use: on other cells first, on the source last."""
    others = [n for n in ranks if n not in set(source)]
    for names in (others, source):
        if left < grid.step * min(budget.cost.values()):
            break
        some = {n: ranks[n] for n in names}
        spent = sum(rank * budget.cost[n] for n, rank in some.items())
        target_ranks = {n: float(max(rank, 1)) for n, rank in some.items()}
        filled = fill(some, target_ranks, budget.cost, spent + left, dict.fromkeys(names, grid))
        left -= sum((filled[n] - some[n]) * budget.cost[n] for n in names)
        ranks = {**ranks, **filled}
    return ranks
