"""Policy `update_by_kind`: ranks follow each score relative to its kind of projection.

No layers, no groups: rank_m in proportion to clip((score_m / mean of its kind) ^ 2, 0.25, 2). Made
for the norm of the learned update (`ranks.importance=update`), the cheapest statistic that follows
a planted need early. It is an arm of experiments and no default: chosen once, its map gains where
needs differ and costs most of the loss where they do not.
"""

from hydra_mobile.adapters.allocate import project
from hydra_mobile.adapters.allocate_kinds import are_apart, relative_to_kind
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.rank_map import RankMap

POWER = 2.0
CLIP = (0.25, 2.0)


class UpdateByKindPolicy(Policy):
    """See the module's docstring."""

    title = "a rank for each linear layer, from its score relative to its kind of projection"
    needs_importance = True

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return ranks in proportion to clipped relative scores; uniform where none is apart."""
        budget = inputs.budget
        relative = relative_to_kind(inputs.scores(), budget.cost)
        apart = are_apart(relative.values())
        low, high = CLIP
        target_ranks = {
            name: budget.r_ref * (min(high, max(low, score**POWER)) if apart else 1.0)
            for name, score in relative.items()
        }
        grids = dict.fromkeys(target_ranks, inputs.grid)
        return budget.rank_map(project(target_ranks, budget.cost, budget.reference, grids))
