"""Policy `coarse`: layers differ, the linears inside a layer do not (save for the last slack).

A reconstruction: the paper says only that ranks differ between layers. Our choice: a layer's score
is the root mean square of its modules' scores relative to their kind, and its rank is r_ref times
the score over the layers' geometric mean, clipped to [0.5, 2]. Scores that are not apart give
every layer r_ref, so that noise moves nothing.
"""

import math
from collections.abc import Mapping

from hydra_mobile.adapters.allocate import fill, project
from hydra_mobile.adapters.allocate_kinds import are_apart, relative_to_kind
from hydra_mobile.adapters.allocate_layers import by_layer
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.rank_map import RankMap

CLIP = (0.5, 2.0)


def layer_levels(relative: Mapping[str, float]) -> dict[str, float]:
    """Return each layer's score: the root mean square of its modules' relative scores."""
    layers = by_layer(list(relative))
    return {
        layer: math.hypot(*(relative[n] for n in names)) / math.sqrt(len(names))
        for layer, names in layers.items()
    }


def level_multipliers(levels: Mapping[str, float]) -> dict[str, float]:
    """Return each layer's factor on r_ref; 1 for all where the levels are not apart."""
    if not are_apart(levels.values()):
        return dict.fromkeys(levels, 1.0)
    mean = math.fsum(math.log(level) for level in levels.values()) / len(levels)
    low, high = CLIP
    return {
        layer: min(high, max(low, math.exp(math.log(level) - mean)))
        for layer, level in levels.items()
    }


def layer_ranks(inputs: PolicyInput, multipliers: Mapping[str, float]) -> dict[str, int]:
    """Return one rank per layer, whose layers together cost at most the reference."""
    budget = inputs.budget
    layers = by_layer(list(budget.cost))
    target_ranks = {layer: multipliers[layer] * budget.r_ref for layer in layers}
    cost = {layer: sum(budget.cost[n] for n in names) for layer, names in layers.items()}
    return project(target_ranks, cost, budget.reference, dict.fromkeys(layers, inputs.grid))


def ranks_of_layers(inputs: PolicyInput, multipliers: Mapping[str, float]) -> RankMap:
    """Return each layer's rank for all its modules, then spend the slack on single modules."""
    budget = inputs.budget
    of_layer = layer_ranks(inputs, multipliers)
    layers = by_layer(list(budget.cost))
    ranks = {name: of_layer[layer] for layer, names in layers.items() for name in names}
    grids = dict.fromkeys(ranks, inputs.grid)
    target_ranks = {name: float(rank) for name, rank in ranks.items()}
    return budget.rank_map(fill(ranks, target_ranks, budget.cost, budget.reference, grids))


class CoarsePolicy(Policy):
    """See the module's docstring."""

    title = "a rank for each layer, from importance after the warm-up"
    needs_importance = True

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return coarse ranks from measured importance."""
        relative = relative_to_kind(inputs.scores(), inputs.budget.cost)
        return ranks_of_layers(inputs, level_multipliers(layer_levels(relative)))
