"""Policy `uniform`: the reference rank everywhere, which is plain LoRA."""

from hydra_mobile.adapters.policies import Policy, PolicyInput
from hydra_mobile.adapters.rank_map import RankMap


class UniformPolicy(Policy):
    """See the module's docstring."""

    title = "the reference rank everywhere: plain LoRA"
    on_grid = False

    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return `r_ref` for every module; grid and bounds do not apply."""
        return inputs.budget.rank_map(dict.fromkeys(inputs.budget.cost, inputs.budget.r_ref))
