"""The projector of MobileVLM V1 (LDP): an MLP and two depthwise-separable blocks.

The blocks are those of MobileNetV3 without the expanding convolution, because nothing is expanded;
the second one halves the grid. Names inside follow the published checkpoints (`mlp.{1,3}`,
`mb_block.{1,2}.block...`), which is why places without weights are held by identities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.models.projectors.base import Projector
from hydra_mobile.models.projectors.grid import grid_side, to_grid, to_tokens


class _ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of each cell."""

    def forward(self, grid: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        return super().forward(grid.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that sees the mean over the grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // 4
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, grid: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        mean = grid.mean((2, 3), keepdim=True)
        gate = F.hardsigmoid(self.fc2(F.relu(self.fc1(mean))))
        return gate * grid


class _Block(nn.Module):
    """Depthwise 3 x 3, squeeze and excitation, 1 x 1; a skip connection where stride is 1."""

    def __init__(self, channels: int, stride: int, eps: float) -> None:
        super().__init__()
        depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.block = nn.Sequential(
            nn.Sequential(depthwise, _ChannelNorm(channels, eps), nn.Hardswish()),
            _SqueezeExcitation(channels),
            nn.Sequential(pointwise, _ChannelNorm(channels, eps)),
        )
        self._skip = stride == 1

    def forward(self, grid: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.block(grid)
        return out + grid if self._skip else out


class LDPNet(Projector):
    """MLP, a block of stride 1, a block of stride 2: a quarter of the patches remain.

    Args:
        num_patches: a square number.
        feature_size: of a patch.
        hidden_size: of the language model.
        layer_norm_eps: 1e-5 is the default of timm's norm, which the published code leaves alone.
    """

    published_names = ("ldpnet",)

    def __init__(
        self,
        num_patches: int,
        feature_size: int,
        hidden_size: int,
        layer_norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if hidden_size % 4:
            raise ConfigError(
                f"projector `ldpnet`: hidden_size {hidden_size} of the language model is no "
                "multiple of 4, which its squeeze layers divide by."
            )
        self._side = grid_side("ldpnet", num_patches, "patches")
        self.num_tokens = ((self._side + 1) // 2) ** 2
        self.mlp = nn.Sequential(
            nn.Identity(),
            nn.Linear(feature_size, hidden_size),
            nn.GELU(),
            nn.Linear(hidden_size, hidden_size),
        )
        self.mb_block = nn.Sequential(
            nn.Identity(),
            _Block(hidden_size, 1, layer_norm_eps),
            _Block(hidden_size, 2, layer_norm_eps),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, P, C] to embeddings [B, ceil(side / 2)^2, hidden]."""
        return to_tokens(self.mb_block(to_grid(self.mlp(features), self._side)))

    @classmethod
    def from_published(cls, name: str) -> dict[str, Any] | None:
        """Return no arguments for `ldpnet`."""
        return {} if name == "ldpnet" else None

    @classmethod
    def published_name(cls, arguments: Mapping[str, Any]) -> str | None:
        """Return `ldpnet`, which has no arguments there."""
        return None if arguments else "ldpnet"

    @classmethod
    def published_prefix(cls, arguments: Mapping[str, Any]) -> tuple[str, str]:
        """Return MobileVLM's prefix, where the projector is inside a `model`."""
        return "model.mm_projector.model.", "projector."

    @classmethod
    def llama_cpp_name(cls, arguments: Mapping[str, Any]) -> str | None:
        """Return `ldp`."""
        return "ldp"
