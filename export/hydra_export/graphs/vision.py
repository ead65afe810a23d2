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
        self.rows: nn.Module | None = model.picture_rows

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels float32 [1, 3, H, W] to image embeddings [1, N, hidden]."""
        features = self.tower(pixels)
        if self.rows is not None:
            return cast(Tensor, self.rows(self.projector, features))
        return cast(Tensor, self.projector(features))
