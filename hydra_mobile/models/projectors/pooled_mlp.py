"""Average pooling to a smaller grid, then a two-layer MLP: the projector of base `smol`.

Pooling is a product with a constant matrix and not an adaptive pooling operator, so that every
export target runs it as one matrix product on its fast path.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.models.projectors.base import Projector


def pooling_matrix(side: int, pooled_side: int) -> Tensor:
    """Return float [pooled_side^2, side^2]: adaptive average pooling of a square grid.

    Cell i averages rows floor(i s / p) to ceil((i + 1) s / p), as torch's adaptive pooling does.
    """
    rows = torch.zeros(pooled_side, side)
    for i in range(pooled_side):
        start, end = i * side // pooled_side, -(-(i + 1) * side // pooled_side)
        rows[i, start:end] = 1.0 / (end - start)
    return torch.kron(rows, rows)


class PooledMLP(Projector):
    """LayerNorm, pooling to `tokens`, Linear, GELU, Linear."""

    pooling: Tensor

    def __init__(
        self, num_patches: int, feature_size: int, hidden_size: int, tokens: int = 16
    ) -> None:
        super().__init__()
        side, pooled_side = math.isqrt(num_patches), math.isqrt(tokens)
        if side * side != num_patches or pooled_side * pooled_side != tokens:
            raise ConfigError(
                f"projector `pooled_mlp` got {num_patches} patches and tokens={tokens}; "
                "both must be square numbers.",
                "Choose tokens = 1, 4, 9, 16, 25, ...",
            )
        self.num_tokens = tokens
        self.register_buffer("pooling", pooling_matrix(side, pooled_side))
        self.norm = nn.LayerNorm(feature_size)
        self.first = nn.Linear(feature_size, hidden_size)
        self.activation = nn.GELU()
        self.second = nn.Linear(hidden_size, hidden_size)

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, P, C] to embeddings [B, tokens, hidden]."""
        pooled = torch.matmul(self.pooling.to(features.dtype), features)
        embeddings: Tensor = self.second(self.activation(self.first(self.norm(pooled))))
        return embeddings
