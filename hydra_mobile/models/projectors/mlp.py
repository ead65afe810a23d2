"""LLaVA's projectors: `linear` (depth 1), `mlp2x_gelu` (depth 2), and so on."""

from __future__ import annotations

from torch import Tensor, nn

from hydra_mobile.core.errors import ConfigError


class MLP(nn.Module):
    """Linear, then GELU and Linear `depth - 1` times; one embedding for each patch."""

    def __init__(
        self, num_patches: int, feature_size: int, hidden_size: int, depth: int = 2
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ConfigError(
                f"projector `mlp`: depth is {depth}, expected at least 1.",
                "1 is LLaVA's `linear`, 2 its `mlp2x_gelu`.",
            )
        self.num_tokens = num_patches
        layers: list[nn.Module] = [nn.Linear(feature_size, hidden_size)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(hidden_size, hidden_size)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, P, C] to embeddings [B, P, hidden]."""
        embeddings: Tensor = self.layers(features)
        return embeddings
