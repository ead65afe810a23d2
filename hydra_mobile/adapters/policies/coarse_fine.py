"""Policy `coarse_fine`: coarse between layers, fine inside each layer, then the slack is spent.

Also the starting ranks of policy `hydra`, which moves them during training; the difference between
the two is what moving brings.

Every layer keeps its allowance until the last step; that step spends what rounding left over, on
the modules with the largest target per rank, so that nothing affordable is wasted.
"""

from hydra_mobile.adapters.allocate import fill
from hydra_mobile.adapters.allocate_layers import by_layer
from hydra_mobile.adapters.allocate_modules import ranks_within, targets_within
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.policies.coarse import layer_ranks
from hydra_mobile.adapters.rank_map import RankMap


class CoarseFinePolicy(Policy):
    """See the module's docstring."""

    title = "a rank for each linear layer, from importance after the warm-up"
    needs_importance = True

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return coarse and fine ranks from measured importance."""
        budget, scores, grid = inputs.budget, inputs.scores(), inputs.grid
        of_layer = layer_ranks(inputs)
        ranks: dict[str, int] = {}
        target_ranks: dict[str, float] = {}
        for layer, names in by_layer(list(budget.cost)).items():
            rank = of_layer[layer]
            ranks |= ranks_within(names, rank, scores, budget.cost, grid)
            target_ranks |= targets_within(names, rank, scores, budget.cost)
        grids = dict.fromkeys(ranks, grid)
        return budget.rank_map(fill(ranks, target_ranks, budget.cost, budget.reference, grids))
