"""CLIP's vision transformer as a tower: the patches of one layer, without the class token.

MobileVLM reads CLIP ViT-L/14 at 336 pixels: the input of the last layer, 576 patches of 1024.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from hydra_mobile.models.vision.base import PublishedTower
from hydra_mobile.models.vision.transformer_tower import TransformerTower, build_vision_model


class ClipTower(TransformerTower):
    """Pixels float [B, 3, S, S] to features [B, (S / patch_size)^2, hidden_size].

    Args:
        select_layer: index into transformers' `hidden_states`.
        arguments: fields of `CLIPVisionConfig`.
    """

    published = PublishedTower(
        types=("clip", "clip_vision_model"),
        stored_type="clip_vision_model",
        config=CLIPVisionConfig,
        own_fields=("projection_dim",),
        architecture="CLIPVisionModel",
        parts=("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm."),
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        feature_strategy="default",
        image_processor="CLIPImageProcessor",
        crops=True,
        llama_cpp=True,
    )

    def __init__(self, select_layer: int = -2, **arguments: Any) -> None:
        model = build_vision_model("clip", CLIPVisionConfig, CLIPVisionModel, arguments)
        super().__init__("clip", model, select_layer, extra_tokens=1)

    def before_layers(self, embedded: Tensor) -> Tensor:
        """Normalize, as CLIP does before its first layer."""
        normed: Tensor = self.model.pre_layrnorm(embedded)
        return normed
