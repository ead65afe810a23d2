"""MobileVLM: our own class, which checkpoints of MobileVLM and LLaVA are imported into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra_mobile.models.families.base import Family
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.vision_language import VisionLanguageModel


class MobileVLM(Family):
    """A vision tower, a projector and a Llama, chosen by configuration."""

    title = "MobileVLM, MobileVLM V2, LLaVA 1.5 (imported)"
    model_types = ("mobile_vlm",)
    derives_prompts = False
    tested = "published weights' layout, real predictions, base `smol`"

    def model_class(self) -> Any:
        """Return our class."""
        from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration

        return MobileVLMForConditionalGeneration

    def config_of(self, stored: dict[str, Any]) -> Any:
        """Return the configuration that a config.json stores."""
        from hydra_mobile.models.configuration import MobileVLMConfig

        return MobileVLMConfig.from_dict(stored)

    def empty_model(self, config: Any) -> VisionLanguageModel:
        """Return the model of a configuration with random weights, or none on the meta device."""
        model: VisionLanguageModel = self.model_class()(config)
        return model

    def rename(self, folder: Path) -> Callable[[str], str | None]:
        """Return what knows the names of the checkpoint that a base was imported from."""
        from hydra_mobile.models.checkpoints.keys import published_names

        return published_names(folder)

    def split(self, model: Any) -> VisionLanguageModel:
        """Return the model: it is made of its parts."""
        found: VisionLanguageModel = model
        return found

    def processor(self, folder: Path) -> MobileVLMProcessor:
        """Return what `processor_config.json` and `tokenizer.json` say."""
        return MobileVLMProcessor.from_pretrained(folder)
