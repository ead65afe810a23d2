"""MobileVLM: a vision tower, a projector and a Llama language model, each chosen by config.

Export-safe by construction: no data-dependent control flow on the inference path, positions and
masks can be passed in explicitly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModelForImageTextToText,
    GenerationMixin,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from hydra_mobile.core.registry import resolve
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.projectors import PROJECTORS
from hydra_mobile.models.templates import IGNORE_INDEX
from hydra_mobile.models.vision import VISION_TOWERS


def _build(kind: str, table: dict[str, str], config: dict[str, Any], *args: int) -> nn.Module:
    arguments = dict(config)
    part = resolve(kind, arguments.pop("model_type", ""), table)
    module: nn.Module = part(*args, **arguments)
    return module


class MobileVLMForConditionalGeneration(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A vision-language model that continues text after a picture.

    `input_ids` int64 [B, S] hold `config.image_token_id` once per image embedding, N times in a
    row for each picture; `pixel_values` float [B, 3, H, W] hold one picture per row of the batch
    (rows without image tokens ignore theirs).
    """

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

    def vision_features(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [B, 3, H, W] to features [B, P, C]; frozen, so features can be cached."""
        features: Tensor = self.vision_tower(pixel_values)
        return features

    def project(self, features: Tensor) -> Tensor:
        """Map features [B, P, C] to image embeddings [B, N, hidden]."""
        embeddings: Tensor = self.projector(features)
        return embeddings

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [B, 3, H, W] to image embeddings [B, N, hidden]."""
        return self.project(self.vision_features(pixel_values))

    def embed_tokens(self, input_ids: Tensor) -> Tensor:
        """Map ids [B, S] to embeddings [B, S, hidden]; image positions get the row of id 0."""
        safe = torch.where(input_ids == self.config.image_token_id, 0, input_ids)
        embeddings: Tensor = self.get_input_embeddings()(safe)
        return embeddings

    def merge_image(self, input_ids: Tensor, image_embeddings: Tensor) -> Tensor:
        """Put image embeddings [B, N, hidden] where `input_ids` [B, S] hold image tokens.

        The k-th image token of a row takes the k-th embedding of that row: a gather and a
        `where`, so shapes never depend on the data.
        """
        embeddings = self.embed_tokens(input_ids)
        is_image = input_ids == self.config.image_token_id
        order = (is_image.long().cumsum(1) - 1).clamp(0, image_embeddings.shape[1] - 1)
        index = order.unsqueeze(-1).expand(-1, -1, image_embeddings.shape[2])
        placed = torch.gather(image_embeddings.to(embeddings.dtype), 1, index)
        return torch.where(is_image.unsqueeze(-1), placed, embeddings)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Run the model.

        Args:
            input_ids: int64 [B, S].
            pixel_values: float [B, 3, H, W], or instead
            vision_features: [B, P, C], the tower's output, for example from a cache on disk.
            attention_mask: [B, S_total] of ones and zeros, or additive float [B, 1, S, S_total].
            position_ids: int64 [B, S]; needed with a 4-D mask.
            cache: keys and values of earlier calls.
            inputs_embeds: [B, S, hidden] in place of `input_ids`.
            labels: int64 [B, S], -100 where there is no loss; `logits` then hold only the
                supervised positions [n, V], since the head is computed only there.
            logits_to_keep: return logits of the last k positions; 0 returns all.
            use_cache: return a cache.
            kwargs: passed to the language model.

        Returns:
            Loss (mean over supervised tokens), logits [B, S or k, V], cache.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("forward needs input_ids or inputs_embeds")
            if vision_features is None and pixel_values is not None:
                with torch.no_grad():
                    vision_features = self.vision_features(pixel_values)
            if vision_features is None:
                inputs_embeds = self.embed_tokens(input_ids)
            else:
                inputs_embeds = self.merge_image(input_ids, self.project(vision_features))
        outputs = self.language_model.model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            use_cache=use_cache,
            **kwargs,
        )
        hidden: Tensor = outputs.last_hidden_state
        if labels is None:
            logits = self.language_model.lm_head(hidden[:, -logits_to_keep:])
            return CausalLMOutputWithPast(logits=logits, cache=outputs.cache)
        targets = labels[:, 1:].reshape(-1)
        chosen = (targets != IGNORE_INDEX).nonzero().squeeze(1)
        flat = hidden[:, :-1].reshape(-1, hidden.shape[-1])
        logits = self.language_model.lm_head(flat.index_select(0, chosen))
        loss = F.cross_entropy(logits.float(), targets.index_select(0, chosen))
        return CausalLMOutputWithPast(loss=loss, logits=logits, cache=outputs.cache)

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
