"""SigLIP's vision transformer as a tower: the patches of one layer. It has no class token."""

from __future__ import annotations

from typing import Any

from transformers import SiglipVisionConfig, SiglipVisionModel

from hydra_mobile.models.vision.base import PublishedTower
from hydra_mobile.models.vision.transformer_tower import TransformerTower, build_vision_model


class SiglipTower(TransformerTower):
    """Pixels float [B, 3, S, S] to features [B, (S / patch_size)^2, hidden_size].

    Args:
        select_layer: index into transformers' `hidden_states`.
        arguments: fields of `SiglipVisionConfig`.
    """

    published = PublishedTower(
        types=("siglip", "siglip_vision_model"),
        stored_type="siglip_vision_model",
        config=SiglipVisionConfig,
        own_fields=("vision_use_head",),
        architecture="SiglipVisionModel",
        parts=("embeddings.", "encoder.", "post_layernorm.", "head."),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        feature_strategy="full",
        image_processor="SiglipImageProcessor",
        crops=False,
    )

    def __init__(self, select_layer: int = -2, **arguments: Any) -> None:
        model = build_vision_model("siglip", SiglipVisionConfig, SiglipVisionModel, arguments)
        super().__init__("siglip", model, select_layer, extra_tokens=0)
