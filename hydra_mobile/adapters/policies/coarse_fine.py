"""Policy `coarse_fine`: coarse between layers, fine inside each layer, then the slack is spent.

Every layer keeps its allowance until the last step; that step spends what rounding left over, on
the modules with the largest target per rank, so that nothing affordable is wasted.
"""

from collections.abc import Mapping

from hydra_mobile.adapters.allocate import fill
from hydra_mobile.adapters.allocate_kinds import relative_to_kind
from hydra_mobile.adapters.allocate_layers import by_layer
from hydra_mobile.adapters.allocate_modules import ranks_within, targets_within
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.policies.coarse import layer_levels, layer_ranks, level_multipliers
from hydra_mobile.adapters.rank_map import RankMap


def coarse_fine_ranks(inputs: PolicyInput, relative: Mapping[str, float]) -> RankMap:
    """Return the ranks of `coarse_fine` from positive scores relative to their kind."""
    budget = inputs.budget
    of_layer = layer_ranks(inputs, level_multipliers(layer_levels(relative)))
    target_ranks: dict[str, float] = {}
    for layer, names in by_layer(list(budget.cost)).items():
        target_ranks |= targets_within(names, of_layer[layer], relative, budget.cost)
    return ranks_from_targets(inputs, of_layer, target_ranks)


def ranks_from_targets(
    inputs: PolicyInput, of_layer: Mapping[str, int], target_ranks: Mapping[str, float]
) -> RankMap:
    """Return ranks that keep every layer's allowance, then spend the slack."""
    budget, grid = inputs.budget, inputs.grid
    ranks: dict[str, int] = {}
    for layer, names in by_layer(list(budget.cost)).items():
        ranks |= ranks_within(names, of_layer[layer], target_ranks, budget.cost, grid)
    grids = dict.fromkeys(ranks, grid)
    return budget.rank_map(fill(ranks, target_ranks, budget.cost, budget.reference, grids))


class CoarseFinePolicy(Policy):
    """See the module's docstring."""

    title = "a rank for each linear layer, from importance after the warm-up"
    needs_importance = True

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return coarse and fine ranks from measured importance."""
        return coarse_fine_ranks(inputs, relative_to_kind(inputs.scores(), inputs.budget.cost))
