"""Policy `coarse_fine_per_cost`: `coarse_fine` as it was until November 2026, for comparison.

Three groups of layers by k-means, then shares of a layer's parameters by score per cost. Equal
importance gives cheap modules more rank than costly ones: on base `smol` at r_ref 16, k and v get
32 and `down_proj` 8. Committed results of before that month used it under the name `coarse_fine`.
"""

from hydra_mobile.adapters.allocate_layers import by_layer, layer_multipliers, layer_scores
from hydra_mobile.adapters.allocate_modules import targets_per_cost
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.policies.coarse import layer_ranks
from hydra_mobile.adapters.policies.coarse_fine import ranks_from_targets
from hydra_mobile.adapters.rank_map import RankMap


class CoarseFinePerCostPolicy(Policy):
    """See the module's docstring."""

    title = "for comparison: `coarse_fine` with k-means and shares by score per cost"
    needs_importance = True

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return coarse and fine ranks from measured importance."""
        budget, scores = inputs.budget, inputs.scores()
        of_layer = layer_ranks(inputs, layer_multipliers(layer_scores(scores)))
        target_ranks: dict[str, float] = {}
        for layer, names in by_layer(list(budget.cost)).items():
            target_ranks |= targets_per_cost(names, of_layer[layer], scores, budget.cost)
        return ranks_from_targets(inputs, of_layer, target_ranks)
