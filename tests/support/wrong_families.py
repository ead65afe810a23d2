"""Families that read SmolVLM's class wrongly, each in one way that others' exporters have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hydra_mobile.models.families.smolvlm import FixedTower, SmolVLM
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
