"""MobileVLM: a vision tower, a projector and a Llama language model, each chosen by config.

Export-safe by construction: no data-dependent control flow on the inference path, positions and
masks can be passed in explicitly.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import (
    AutoModelForImageTextToText,
    GenerationMixin,
    LlamaForCausalLM,
    PreTrainedModel,
)

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.registry import resolve
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.projectors import PROJECTORS
from hydra_mobile.models.vision import VISION_TOWERS
from hydra_mobile.models.vision_language import VisionLanguageModel


def _build(kind: str, table: dict[str, str], config: dict[str, Any], *args: int) -> nn.Module:
    arguments = dict(config)
    part = resolve(kind, arguments.pop("model_type", ""), table)
    module: nn.Module = part(*args, **arguments)
    return module


class MobileVLMForConditionalGeneration(VisionLanguageModel, PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A `VisionLanguageModel` that is its own parts, as its folder stores them."""

    config_class = MobileVLMConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_cache_class = True
    _no_split_modules = ["LlamaDecoderLayer"]  # noqa: RUF012 (transformers reads it)

    def __init__(self, config: MobileVLMConfig) -> None:
        super().__init__(config)
        text: Any = config.text_config
        self.vision_tower = _build("vision tower", VISION_TOWERS, config.vision_config)
        self.projector = _build(
            "projector",
            PROJECTORS,
            config.projector_config,
            int(self.vision_tower.num_patches),  # type: ignore[arg-type]
            int(self.vision_tower.feature_size),  # type: ignore[arg-type]
            text.hidden_size,
        )
        self.language_model = LlamaForCausalLM(text)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding table."""
        table: nn.Module = self.language_model.get_input_embeddings()
        return table

    def get_output_embeddings(self) -> nn.Module:
        """Return the head over the vocabulary."""
        head: nn.Module = self.language_model.get_output_embeddings()
        return head

    @property
    def image_size(self) -> int:
        """Side of the square picture that the tower reads, in pixels.

        Raises:
            HydraError: config.json does not say it.
        """
        size = self.config.vision_config.get("image_size")
        if not isinstance(size, int):
            raise HydraError(
                f"config.json: vision_config.image_size is {size!r}, expected a number of pixels.",
                "Add the side of the square picture that the vision tower reads.",
            )
        return size

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        """Pass the picture at the first step only; afterwards it is in the cache."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, **kwargs)
        past = inputs.get("cache")
        if past is not None and past.get_seq_length() > 0:
            inputs["pixel_values"] = None
            inputs["vision_features"] = None
        return inputs


AutoModelForImageTextToText.register(
    MobileVLMConfig, MobileVLMForConditionalGeneration, exist_ok=True
)
