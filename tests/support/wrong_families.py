"""Families that read a class wrongly, each in one way that others' exporters have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hydra_mobile.models.families.gemma3 import Gemma3
from hydra_mobile.models.families.qwen_vl import Qwen3VL, QwenTower
from hydra_mobile.models.families.smolvlm import FixedTower, SmolVLM
from hydra_mobile.models.rows import PictureRows, RowText
from hydra_mobile.models.vision_language import SplitModel, VisionLanguageModel


class _Wrong(SmolVLM):
    def split(self, model: Any) -> VisionLanguageModel:
        parts = super().split(model)
        self.spoil(parts)
        return parts

    def spoil(self, parts: VisionLanguageModel) -> None:
        raise NotImplementedError


class WithoutPositions(_Wrong):
    """The positions of patches are dropped."""

    def spoil(self, parts: VisionLanguageModel) -> None:
        tower = parts.vision_tower
        assert isinstance(tower, FixedTower)
        empty = nn.Embedding(tower.num_patches, tower.feature_size)
        nn.init.zeros_(empty.weight)
        tower.positions = empty


class WithUntrainedConnector(_Wrong):
    """The connector is a fresh one: what training made of it is lost."""

    def spoil(self, parts: VisionLanguageModel) -> None:
        torch.manual_seed(9)
        fresh = type(parts.projector)(parts.config)
        parts.projector = fresh.eval()


class _PositionsFromOne(nn.Module):
    def __init__(self, rotary: nn.Module) -> None:
        super().__init__()
        self.rotary = rotary

    def forward(self, x: Tensor, position_ids: Tensor) -> Any:
        return self.rotary(x, position_ids * 2)


class WithOtherRotary(_Wrong):
    """Positions are turned by other angles than the model's."""

    def spoil(self, parts: VisionLanguageModel) -> None:
        assert isinstance(parts, SplitModel)
        body = parts.language_model.model
        own = body.rotary_emb
        wrong = _PositionsFromOne(own)

        def ours(*args: Any, **kwargs: Any) -> Any:
            # The whole model's forward goes on with its own angles.
            body.rotary_emb = wrong
            try:
                return VisionLanguageModel.forward(parts, *args, **kwargs)
            finally:
                body.rotary_emb = own

        parts.forward = ours  # type: ignore[method-assign]


class WithoutDeepStack(Qwen3VL):
    """What earlier layers of the tower saw is dropped."""

    def split(self, model: Any) -> VisionLanguageModel:
        """Return parts without it."""
        parts = super().split(model)
        tower, layout = parts.vision_tower, parts.layout
        assert isinstance(tower, QwenTower)
        assert layout is not None
        tower.deep_layers, tower.deep = [], 0
        tower.feature_size = int(model.config.vision_config.hidden_size)
        parts.layout = replace(layout, deep=0)
        parts.rows_of_pictures = PictureRows(parts.layout, parts.num_image_tokens)
        return parts


class WithFlatPositions(Qwen3VL):
    """A picture's tokens are counted like text, on one axis."""

    def split(self, model: Any) -> VisionLanguageModel:
        """Return parts that turn by other positions."""
        parts = super().split(model)
        assert parts.picture_rows is not None
        constants: Any = parts.picture_rows.constants
        constants.zero_()
        constants[:, 0] = 1
        return parts


class _LooksBackAtEverything(SplitModel):
    @property
    def row_text(self) -> RowText:
        """The text model, its layers without windows."""
        text = super().row_text
        text.window = 1 << 30
        return text


class WithoutWindow(Gemma3):
    """Sliding windows are ignored."""

    def split(self, model: Any) -> VisionLanguageModel:
        """Return parts that look back at everything."""
        parts = super().split(model)
        parts.__class__ = _LooksBackAtEverything
        return parts


class WithOneWayPicture(Gemma3):
    """A picture's rows see what stands before them alone."""

    def split(self, model: Any) -> VisionLanguageModel:
        """Return parts whose pictures have no mark."""
        parts = super().split(model)
        assert parts.picture_rows is not None
        constants: Any = parts.picture_rows.constants
        constants.zero_()
        return parts
