"""Policy `reversed`: a control at equal budget, `coarse_fine` with the importance upside down.

It controls for the direction of the scores. The maps are as unequal as those of `coarse_fine` and
cost the same, but the modules that matter least get the most. If it does as well as `coarse_fine`,
the scores tell nothing; if it does worse than `random`, they tell something.

Upside down means mirrored in the order of scores relative to their kind, on both levels:

- the layer with the i-th lowest score gets the score of the layer with the i-th highest;
- inside a layer, the module with the i-th lowest score gets that of the i-th highest.

Equal scores are ordered by the budget.
"""

import math
from collections.abc import Mapping

from hydra_mobile.adapters.allocate_kinds import relative_to_kind
from hydra_mobile.adapters.allocate_layers import by_layer
from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.policies.coarse import layer_levels
from hydra_mobile.adapters.policies.coarse_fine import coarse_fine_ranks
from hydra_mobile.adapters.rank_map import RankMap


class ReversedPolicy(Policy):
    """See the module's docstring."""

    title = "baseline: `coarse_fine` with the importance upside down"
    needs_importance = True

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return the coarse and fine ranks of the mirrored importance."""
        relative = relative_to_kind(inputs.scores(), inputs.budget.cost)
        return coarse_fine_ranks(inputs, mirrored_scores(relative))


def mirrored_scores(relative: Mapping[str, float]) -> dict[str, float]:
    """Return scores whose layers, and whose modules inside each layer, have changed places.

    Args:
        relative: positive scores by module, relative to their kind.
    """
    levels = mirrored(layer_levels(relative))
    result: dict[str, float] = {}
    for layer, names in by_layer(list(relative)).items():
        inside = mirrored({name: relative[name] for name in names})
        norm = math.hypot(*inside.values()) / math.sqrt(len(names))
        result |= {name: levels[layer] * (score / norm) for name, score in inside.items()}
    return result


def mirrored(scores: Mapping[str, float]) -> dict[str, float]:
    """Give each name the score of its mirror in the order of scores."""
    order = sorted(scores, key=lambda name: scores[name])
    values = [scores[name] for name in order]
    return dict(zip(order, reversed(values), strict=True))
