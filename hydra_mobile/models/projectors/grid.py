"""Patches as a square grid and back, for projectors that convolve."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from hydra_mobile.core.errors import ConfigError


def grid_side(projector: str, count: int, what: str) -> int:
    """Return the side of a square grid of `count` cells.

    Args:
        projector: its name, for the message.
        count: how many there are.
        what: of what, for the message.

    Raises:
        ConfigError: `count` is no square number.
    """
    side = math.isqrt(max(count, 0))
    if count < 1 or side * side != count:
        raise ConfigError(
            f"projector `{projector}` got {count} {what}; it needs a square grid of them.",
            "Choose a square number: 1, 4, 9, 16, 25, ...",
        )
    return side


def to_grid(tokens: Tensor, side: int) -> Tensor:
    """Map [B, side^2, C], rows first, to [B, C, side, side]."""
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[2], side, side)


def to_tokens(grid: Tensor) -> Tensor:
    """Map [B, C, H, W] to [B, H W, C], rows first."""
    return grid.flatten(2).transpose(1, 2)


def average_to(grid: Tensor, side: int) -> Tensor:
    """Average [B, C, S, S] to [B, C, side, side], as adaptive average pooling does."""
    size = grid.shape[-1]
    if size % side == 0:
        # The same cells as a plain pooling, which every export target has a kernel for.
        return F.avg_pool2d(grid, size // side)
    return F.adaptive_avg_pool2d(grid, side)
