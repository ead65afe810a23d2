"""Policy `coarse`: layers differ, the linears inside a layer do not (save for the last slack)."""

from hydra_mobile.adapters.allocate import fill, project
from hydra_mobile.adapters.allocate_layers import by_layer, layer_multipliers, layer_scores
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.rank_map import RankMap


def layer_ranks(inputs: PolicyInput) -> dict[str, int]:
    """Return one rank per layer, whose layers together cost at most the reference."""
    budget = inputs.budget
    layers = by_layer(list(budget.cost))
    multipliers = layer_multipliers(layer_scores(inputs.scores()))
    target_ranks = {layer: multipliers[layer] * budget.r_ref for layer in layers}
    cost = {layer: sum(budget.cost[n] for n in names) for layer, names in layers.items()}
    return project(target_ranks, cost, budget.reference, dict.fromkeys(layers, inputs.grid))


class CoarsePolicy(Policy):
    """See the module's docstring."""

    title = "a rank for each layer, from importance after the warm-up"
    needs_importance = True

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return each layer's rank for all its modules, then spend the slack on single modules."""
        budget = inputs.budget
        of_layer = layer_ranks(inputs)
        layers = by_layer(list(budget.cost))
        ranks = {name: of_layer[layer] for layer, names in layers.items() for name in names}
        grids = dict.fromkeys(ranks, inputs.grid)
        target_ranks = {name: float(rank) for name, rank in ranks.items()}
        return budget.rank_map(fill(ranks, target_ranks, budget.cost, budget.reference, grids))
