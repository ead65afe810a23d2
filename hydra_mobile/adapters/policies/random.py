"""Policy `random`: a control at equal budget, unequal ranks that nothing was measured for.

It controls for unequal ranks as such: a gain over uniform LoRA that random ranks also show does
not come from measuring importance. Draws what `coarse_fine` would measure: a factor 0.5, 1 or 2
per layer and a factor between 0.5 and 2 per module, from the seed and the names alone (the order
of the modules does not matter).
"""

import random

from hydra_mobile.adapters.allocate import project
from hydra_mobile.adapters.allocate_layers import MULTIPLIERS, layer_of
from hydra_mobile.adapters.allocate_modules import CLIP
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.rank_map import RankMap


class RandomPolicy(Policy):
    """See the module's docstring."""

    title = "baseline: unequal ranks that nothing was measured for"

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return random ranks that spend the budget."""
        budget = inputs.budget
        target_ranks = {}
        for name in budget.cost:
            layer = random.Random(f"{inputs.seed}:{layer_of(name)}").choice(MULTIPLIERS)
            # Uniform in the logarithm: halving is as likely as doubling.
            exponent = random.Random(f"{inputs.seed}:{name}").random()
            module = CLIP[0] * (CLIP[1] / CLIP[0]) ** exponent
            target_ranks[name] = budget.r_ref * layer * module
        grids = dict.fromkeys(target_ranks, inputs.grid)
        return budget.rank_map(project(target_ranks, budget.cost, budget.reference, grids))
