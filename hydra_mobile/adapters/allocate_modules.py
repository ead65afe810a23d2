"""The fine stage: how one layer's allowance is shared among its linears.

A reconstruction: the paper says only that ranks are adjusted within layers. Our choice: the
allowance is a number of parameters (layer rank times the layer's cost per rank), shared in
proportion to score per cost, each module clipped to [0.5, 2] times the layer rank. Guarantee: the
ranks of a layer never cost more than its allowance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra_mobile.adapters.allocate import Grid, project
from hydra_mobile.adapters.allocate_layers import FLOOR, require_finite

CLIP = (0.5, 2.0)


def targets_within(
    names: Sequence[str], rank: int, scores: Mapping[str, float], cost: Mapping[str, int]
) -> dict[str, float]:
    """Return the real ranks that spend a layer's allowance in proportion to score per cost.

    The target of module m is allowance * (score_m / cost_m) / sum of scores, not yet clipped.
    Scores below 1e-6 of the layer's largest count as that; all zero counts as all equal.
    """
    own = {name: scores[name] for name in names}
    require_finite(own)
    top = max(own.values()) or 1.0
    shares = {name: max(score / top, FLOOR) for name, score in own.items()}
    allowance = rank * sum(cost[name] for name in names)
    total = sum(shares.values())
    return {name: allowance * shares[name] / total / cost[name] for name in names}


def ranks_within(
    names: Sequence[str],
    rank: int,
    scores: Mapping[str, float],
    cost: Mapping[str, int],
    grid: Grid,
) -> dict[str, int]:
    """Return integer ranks of one layer's modules that cost at most rank * sum of costs.

    Args:
        names: the layer's modules.
        rank: the layer rank from the coarse stage, on the grid.
        scores: measured importance by module.
        cost: parameters per rank by module.
        grid: the ranks allowed anywhere; the clip narrows it.
    """
    if rank == 0:
        return dict.fromkeys(names, 0)
    clipped = Grid(grid.step, grid.up(CLIP[0] * rank), grid.down(CLIP[1] * rank))
    target_ranks = targets_within(names, rank, scores, cost)
    allowance = rank * sum(cost[name] for name in names)
    return project(target_ranks, cost, allowance, dict.fromkeys(names, clipped))
