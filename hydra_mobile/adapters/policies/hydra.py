"""Policy `hydra`: ranks that the dynamic stage moves during training, see `adapters/dynamic`.

It begins uniform: every map chosen once from early importance costs most where needs are equal and
the budget is the limit, so none of them is a safe start. `Start` names the others that may be
combined with the dynamic stage.
"""

from hydra_mobile.adapters.dynamic.settings import Start
from hydra_mobile.adapters.policies.uniform import UniformPolicy


def start_policy(start: Start, target: str) -> str:
    """Return the policy that chooses the first ranks of a run of policy `hydra`.

    Args:
        start: what the settings say.
        target: of the dynamic stage. Runs of before November 2026 have one of the older targets;
            they began as `coarse_fine_per_cost`.
    """
    if start != "auto":
        return start
    return "uniform" if target == "trailing" else "coarse_fine_per_cost"


class HydraPolicy(UniformPolicy):
    """Uniform ranks to begin with; the engine takes those of `start_policy`."""

    title = "uniform, then moved where the last directions of modules differ widely in worth"
    on_grid = True
    moves = True
