"""Projectors: a new one is one file and one line here.

A projector is an `nn.Module` built from `(num_patches, feature_size, hidden_size)` and its
configuration's arguments. It maps features [B, P, C] to image embeddings [B, N, hidden] and has
the attribute `num_tokens` (N).
"""

PROJECTORS = {
    "ldpnet": "hydra_mobile.models.projectors.ldpnet:LDPNet",
    "ldpnetv2": "hydra_mobile.models.projectors.ldpnetv2:LDPNetV2",
    "mlp": "hydra_mobile.models.projectors.mlp:MLP",
    "pooled_mlp": "hydra_mobile.models.projectors.pooled_mlp:PooledMLP",
}
