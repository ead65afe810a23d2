"""The projector of MobileVLM V2: an MLP, average pooling to 12 x 12, one positional convolution.

Names inside follow the published checkpoints: `mlp.mlp.{0,2}`, `peg.peg.0`.
"""

from __future__ import annotations

from torch import Tensor, nn

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.models.projectors.grid import average_to, grid_side, to_grid, to_tokens


class _MLP(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(inputs, outputs), nn.GELU(), nn.Linear(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, P, inputs] to [B, P, outputs]."""
        y: Tensor = self.mlp(x)
        return y


class _PositionalConvolution(nn.Module):
    """A depthwise 3 x 3 convolution beside a skip connection: tells a cell about its place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.peg = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, groups=channels))

    def forward(self, grid: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        moved: Tensor = self.peg(grid)
        return moved + grid


class LDPNetV2(nn.Module):
    """MLP, adaptive average pooling to `tokens`, positional convolution."""

    def __init__(
        self, num_patches: int, feature_size: int, hidden_size: int, tokens: int = 144
    ) -> None:
        super().__init__()
        self._side = grid_side("ldpnetv2", num_patches, "patches")
        self._pooled_side = grid_side("ldpnetv2", tokens, "tokens")
        if tokens > num_patches:
            raise ConfigError(
                f"projector `ldpnetv2` cannot make {tokens} tokens of {num_patches} patches.",
                f"Choose tokens up to {num_patches}.",
            )
        self.num_tokens = tokens
        self.mlp = _MLP(feature_size, hidden_size)
        self.peg = _PositionalConvolution(hidden_size)

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, P, C] to embeddings [B, tokens, hidden]."""
        grid = to_grid(self.mlp(features), self._side)
        return to_tokens(self.peg(average_to(grid, self._pooled_side)))
