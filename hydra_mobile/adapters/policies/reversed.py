"""Policy `reversed`: a control at equal budget, `coarse_fine` with the importance upside down.

It controls for the direction of the scores. The maps are as unequal as those of `coarse_fine` and
cost the same, but the modules that matter least get the most. If it does as well as `coarse_fine`,
the scores tell nothing; if it does worse than `random`, they tell something.

Upside down means mirrored in the order of scores, on both levels:

- the layer with the i-th lowest score gets the score of the layer with the i-th highest;
- inside a layer, the module with the i-th lowest score per cost gets that of the i-th highest.
  Per cost, because that is what the fine stage shares ranks by.

Equal scores are ordered by the budget. Called through `allocate`.
"""

import dataclasses
import math
from collections.abc import Mapping

from hydra_mobile.adapters.allocate_layers import by_layer, layer_scores
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.policies.coarse_fine import CoarseFinePolicy
from hydra_mobile.adapters.rank_map import RankMap


class ReversedPolicy(Policy):
    """See the module's docstring."""

    title = "baseline: `coarse_fine` with the importance upside down"
    needs_importance = True

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return the coarse and fine ranks of the mirrored importance."""
        scores = mirrored_scores(inputs.scores(), inputs.budget.cost)
        return CoarseFinePolicy().ranks(dataclasses.replace(inputs, importance=scores))


def mirrored_scores(scores: Mapping[str, float], cost: Mapping[str, int]) -> dict[str, float]:
    """Return scores whose layers, and whose modules inside each layer, have changed places.

    Args:
        scores: finite importance by module.
        cost: parameters per rank by module.

    Returns:
        Scores relative to the largest of `scores`; only proportions count.
    """
    top = max(scores.values()) or 1.0
    relative = {name: score / top for name, score in scores.items()}
    wanted = mirrored(layer_scores(relative))
    result: dict[str, float] = {}
    for layer, names in by_layer(list(scores)).items():
        density = mirrored({name: relative[name] / cost[name] for name in names})
        inside = {name: density[name] * cost[name] for name in names}
        norm = math.hypot(*inside.values())
        if norm == 0.0:
            # A layer without scores: all modules equal, as in `allocate_modules.py`.
            inside, norm = dict.fromkeys(names, 1.0), math.sqrt(len(names))
        result |= {name: wanted[layer] * (score / norm) for name, score in inside.items()}
    return result


def mirrored(scores: Mapping[str, float]) -> dict[str, float]:
    """Give each name the score of its mirror in the order of scores."""
    order = sorted(scores, key=lambda name: scores[name])
    values = [scores[name] for name in order]
    return dict(zip(order, reversed(values), strict=True))
