"""One strided convolution as a vision tower: for unit tests on base `tiny`, never for use."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PatchConv(nn.Module):
    """Pixels float [B, 3, S, S] to features [B, (S / patch)^2, feature_size]."""

    def __init__(self, image_size: int, patch: int, feature_size: int) -> None:
        super().__init__()
        self.num_patches = (image_size // patch) ** 2
        self.feature_size = feature_size
        self.convolution = nn.Conv2d(3, feature_size, patch, patch)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return patches, rows first."""
        return F.relu(self.convolution(pixel_values)).flatten(2).transpose(1, 2)
