"""Projectors: a new one is one file and one line here.

See `base.Projector` for what one is, and how it says what other projects call it.
"""

PROJECTORS = {
    "ldpnet": "hydra_mobile.models.projectors.ldpnet:LDPNet",
    "ldpnetv2": "hydra_mobile.models.projectors.ldpnetv2:LDPNetV2",
    "mlp": "hydra_mobile.models.projectors.mlp:MLP",
    "pooled_mlp": "hydra_mobile.models.projectors.pooled_mlp:PooledMLP",
}
