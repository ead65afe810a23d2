"""DeepSeek-VL 1.3B: SigLIP, two linears, a Llama. One padded square, which is its own mode.

The 7B checkpoints have a second tower and a class of their own, which is not read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra_mobile.models.families.base import Family
from hydra_mobile.models.families.gemma3 import PlainTower
from hydra_mobile.models.families.pixels import read_settings, stretched
from hydra_mobile.models.families.prompts import Around, derived_processor
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.vision_language import SplitModel, VisionLanguageModel


class DeepseekVL(Family):
    """transformers' DeepSeek-VL class with one tower."""

    title = "DeepSeek-VL (1.3B)"
    model_types = ("deepseek_vl",)
    tested = "random weights; pixels are compared on squares"

    def split(self, model: Any) -> VisionLanguageModel:
        """Return the parts."""
        inner = model.model
        tower = PlainTower(inner.vision_model)
        return SplitModel(
            model,
            tower=tower,
            connector=inner.aligner,
            text=inner.language_model,
            head=model.lm_head,
            image_size=int(model.config.vision_config.image_size),
            image_tokens=tower.num_patches,
            picture_inputs=lambda pixels: {"pixel_values": pixels},
        )

    def processor(self, folder: Path) -> MobileVLMProcessor:
        """Return tokenizer, template and image preprocessing of a checkpoint."""
        vision = self.config_of(read_settings(folder / "config.json")).vision_config
        side = int(vision.image_size)
        size = {"size": {"height": side, "width": side}}
        # Theirs resizes and then pads, with the same color: a square has no border.
        same = stretched(folder, side, "DeepseekVLImageProcessorPil", size, lambda pixels: pixels)
        tokens = (side // int(vision.patch_size)) ** 2
        around = Around("<image_placeholder>")
        return derived_processor(folder, replace(same, fit="pad"), around, tokens)
