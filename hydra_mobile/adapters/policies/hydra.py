"""Policy `hydra`: the ranks of `coarse_fine`, which the dynamic stage moves during training."""

from hydra_mobile.adapters.policies.coarse_fine import CoarseFinePolicy


class HydraPolicy(CoarseFinePolicy):
    """Coarse and fine ranks to begin with; see `adapters/dynamic`."""

    title = "`coarse_fine`, then moved where probes show a gain"
    moves = True
