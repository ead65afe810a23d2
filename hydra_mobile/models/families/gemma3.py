"""Gemma 3: SigLIP, average pool, norm and one matrix; a text model with sliding windows.

A picture's rows see each other both ways, so a prefill must hold them in one call. One picture, as
one square: what the published checkpoints read without pan and scan.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hydra_mobile.models.families.base import Family
from hydra_mobile.models.families.pixels import read_settings, stretched
from hydra_mobile.models.families.prompts import Around, derived_processor
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.rows import RowLayout
from hydra_mobile.models.vision_language import SplitModel, VisionLanguageModel

_AROUND = Around(
    "<image_soft_token>",
    before="\n\n<start_of_image>",
    after="<end_of_image>\n\n",
    marker="<start_of_image>",
)


class Gemma3(Family):
    """transformers' Gemma 3 class with a vision tower."""

    title = "Gemma 3 (4B and larger)"
    model_types = ("gemma3",)
    tested = "random weights"

    def split(self, model: Any) -> VisionLanguageModel:
        """Return the parts."""
        config, inner = model.config, model.model
        return SplitModel(
            model,
            tower=PlainTower(inner.vision_tower),
            connector=inner.multi_modal_projector,
            text=inner.language_model,
            head=model.lm_head,
            image_size=int(config.vision_config.image_size),
            image_tokens=int(config.mm_tokens_per_image),
            picture_inputs=lambda pixels: {"pixel_values": pixels},
            layout=RowLayout(int(config.text_config.hidden_size), marks=True),
            token_kinds="token_type_ids",
        )

    def processor(self, folder: Path) -> MobileVLMProcessor:
        """Return tokenizer, template and image preprocessing of a checkpoint."""
        config = self.config_of(read_settings(folder / "config.json"))
        side = int(config.vision_config.image_size)
        size = {"height": side, "width": side}
        image = stretched(folder, side, "Gemma3ImageProcessorPil", {"size": size})
        return derived_processor(folder, image, _AROUND, int(config.mm_tokens_per_image))


class PlainTower(nn.Module):
    """The last hidden states of a SigLIP; its pooling head is not read."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        inner = getattr(tower, "vision_model", tower)
        self.embeddings, self.encoder = inner.embeddings, inner.encoder
        self.norm = inner.post_layernorm
        config = inner.config
        self.num_patches = (int(config.image_size) // int(config.patch_size)) ** 2
        self.feature_size = int(config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S] to features [B, P, C]."""
        x = self.encoder(inputs_embeds=self.embeddings(pixels)).last_hidden_state
        features: Tensor = self.norm(x)
        return features
