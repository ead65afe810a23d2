"""The configuration of a MobileVLM: which tower, which projector, which language model."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, LlamaConfig, PretrainedConfig


class MobileVLMConfig(PretrainedConfig):  # type: ignore[misc]
    """Configuration of `MobileVLMForConditionalGeneration`.

    Args:
        vision_config: `{"model_type": name in VISION_TOWERS, ...arguments of the tower}`.
        projector_config: `{"model_type": name in PROJECTORS, ...arguments of the projector}`.
        text_config: the language model, a `LlamaConfig` or its dictionary.
        image_token_id: the id that stands for one image embedding in `input_ids`. It lies outside
            the embedding table (by convention `vocab_size`), so the language model can never
            generate it and its table stays as it was pretrained.
        num_image_tokens: embeddings per picture, N.
        base: name of the base these weights began as, for example "smol".
        base_sha256: hash over the base's weights; adapters carry it, and merging compares it.
    """

    model_type = "mobile_vlm"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 (transformers reads a class attribute)

    def __init__(
        self,
        vision_config: dict[str, Any] | None = None,
        projector_config: dict[str, Any] | None = None,
        text_config: LlamaConfig | dict[str, Any] | None = None,
        image_token_id: int = 0,
        num_image_tokens: int = 0,
        base: str = "",
        base_sha256: str = "",
        **kwargs: Any,
    ) -> None:
        if not isinstance(text_config, LlamaConfig):
            text_config = LlamaConfig(**(text_config or {}))
        text: Any = text_config
        self.text_config = text
        self.vision_config = vision_config or {}
        self.projector_config = projector_config or {}
        self.image_token_id = image_token_id
        self.num_image_tokens = num_image_tokens
        self.base = base
        self.base_sha256 = base_sha256
        kwargs.setdefault("tie_word_embeddings", text.tie_word_embeddings)
        super().__init__(**kwargs)


AutoConfig.register(MobileVLMConfig.model_type, MobileVLMConfig, exist_ok=True)
