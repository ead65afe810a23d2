"""SigLIP's vision transformer as a tower: the patches of one layer. It has no class token."""

from __future__ import annotations

from typing import Any

from transformers import SiglipVisionConfig, SiglipVisionModel

from hydra_mobile.models.vision.transformer_tower import TransformerTower, build_vision_model


class SiglipTower(TransformerTower):
    """Pixels float [B, 3, S, S] to features [B, (S / patch_size)^2, hidden_size].

    Args:
        select_layer: index into transformers' `hidden_states`.
        arguments: fields of `SiglipVisionConfig`.
    """

    def __init__(self, select_layer: int = -2, **arguments: Any) -> None:
        model = build_vision_model("siglip", SiglipVisionConfig, SiglipVisionModel, arguments)
        super().__init__("siglip", model, select_layer, extra_tokens=0)
