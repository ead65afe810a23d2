"""The fine stage: how one layer's allowance is shared among its linears.

A reconstruction: the paper says only that ranks are adjusted within layers. Our choice: the
allowance is a number of parameters (layer rank times the layer's cost per rank); ranks inside the
layer are in proportion to the modules' scores relative to their kind (`allocate_kinds.py`), each
clipped to [0.5, 2] times the layer rank. Scores that are not apart give every module the layer's
rank. Guarantee: the ranks of a layer never cost more than its allowance.

Until November 2026 shares of *parameters* followed score per cost, so that equal scores gave cheap
modules more rank than costly ones; policy `coarse_fine_per_cost` keeps that rule for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hydra_mobile.adapters.allocate import Grid, project
from hydra_mobile.adapters.allocate_kinds import are_apart
from hydra_mobile.adapters.allocate_layers import FLOOR, require_finite

CLIP = (0.5, 2.0)


def targets_within(
    names: Sequence[str], rank: int, relative: Mapping[str, float], cost: Mapping[str, int]
) -> dict[str, float]:
    """Return the real ranks in proportion to `relative` that spend a layer's allowance.

    Args:
        names: the layer's modules.
        rank: the layer's rank.
        relative: positive score of each module, relative to its kind.
        cost: parameters per rank by module.
    """
    own = {name: relative[name] for name in names}
    if not are_apart(own.values()):
        return dict.fromkeys(names, float(rank))
    factor = sum(cost[n] for n in names) / math.fsum(cost[n] * own[n] for n in names)
    return {name: rank * score * factor for name, score in own.items()}


def targets_per_cost(
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
    target_ranks: Mapping[str, float],
    cost: Mapping[str, int],
    grid: Grid,
) -> dict[str, int]:
    """Return integer ranks of one layer's modules that cost at most rank * sum of costs.

    Args:
        names: the layer's modules.
        rank: the layer rank from the coarse stage, on the grid.
        target_ranks: as `targets_within` or `targets_per_cost` returns them.
        cost: parameters per rank by module.
        grid: the ranks allowed anywhere; the clip narrows it.
    """
    if rank == 0:
        return dict.fromkeys(names, 0)
    clipped = Grid(grid.step, grid.up(CLIP[0] * rank), grid.down(CLIP[1] * rank))
    allowance = rank * sum(cost[name] for name in names)
    own = {name: target_ranks[name] for name in names}
    return project(own, cost, allowance, dict.fromkeys(names, clipped))
