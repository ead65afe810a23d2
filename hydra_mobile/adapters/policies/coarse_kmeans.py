"""Policy `coarse_kmeans`: `coarse` as it was until November 2026, for comparison.

Three groups of layers by k-means. It finds three groups in noise too: it does not give the uniform
map where importance is equal up to noise.
"""

from hydra_mobile.adapters.allocate_layers import layer_multipliers, layer_scores
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.policies.coarse import ranks_of_layers
from hydra_mobile.adapters.rank_map import RankMap


class CoarseKMeansPolicy(Policy):
    """See the module's docstring."""

    title = "for comparison: `coarse` with three groups by k-means"
    needs_importance = True

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return coarse ranks from measured importance."""
        return ranks_of_layers(inputs, layer_multipliers(layer_scores(inputs.scores())))
