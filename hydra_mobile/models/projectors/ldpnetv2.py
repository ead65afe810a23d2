"""The projector of MobileVLM V2: an MLP, average pooling to 12 x 12, one positional convolution.

Names inside follow the published checkpoints: `mlp.mlp.{0,2}`, `peg.peg.0`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.models.projectors.base import Projector
from hydra_mobile.models.projectors.grid import average_to, grid_side, to_grid, to_tokens

#: Embeddings of a picture in the published models.
_TOKENS = 144


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


class LDPNetV2(Projector):
    """MLP, adaptive average pooling to `tokens`, positional convolution."""

    published_names = ("ldpnetv2",)

    def __init__(
        self, num_patches: int, feature_size: int, hidden_size: int, tokens: int = _TOKENS
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

    @classmethod
    def from_published(cls, name: str) -> dict[str, Any] | None:
        """Return no arguments for `ldpnetv2`."""
        return {} if name == "ldpnetv2" else None

    @classmethod
    def published_name(cls, arguments: Mapping[str, Any]) -> str | None:
        """Return `ldpnetv2`, which makes 144 tokens there."""
        return "ldpnetv2" if arguments in ({}, {"tokens": _TOKENS}) else None

    @classmethod
    def llama_cpp_name(cls, arguments: Mapping[str, Any]) -> str | None:
        """Return `ldpv2`."""
        return "ldpv2"
