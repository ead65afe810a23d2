"""The vision encoder as one graph: tower and projector, pixels in, image embeddings out."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn


class VisionEncoder(nn.Module):
    """Tower and projector of a model, sharing its weights."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower: nn.Module = model.vision_tower
        self.projector: nn.Module = model.projector

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels float32 [1, 3, H, W] to image embeddings [1, N, hidden]."""
        return cast(Tensor, self.projector(self.tower(pixels)))
