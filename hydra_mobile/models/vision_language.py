"""What everything behind a base works on: a tower, a projector and a language model.

Every family of models is seen through this class. MobileVLM is such a model itself; a class of
transformers is looked at through `SplitModel`, which shares its modules and so its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from hydra_mobile.models.rows import PictureRows, RowLayout, RowText, token_rows
from hydra_mobile.models.templates import IGNORE_INDEX

#: Keyword arguments of a model's own forward, from the squares [K, 3, H, W] of its pictures.
PictureInputs = Callable[[Tensor], dict[str, Tensor]]


def head_dim(text: Any) -> int:
    """Return the size of an attention head of a text configuration; some do not store it."""
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


class VisionLanguageModel(nn.Module):
    """A model that continues text after a picture, in its three parts.

    `input_ids` int64 [B, S] hold `config.image_token_id` once per image embedding, N times in a
    row for each square; `pixel_values` float [B, 3, H, W] hold one picture per row of the batch
    (rows without image tokens ignore theirs). A picture that is read in K tiles is
    [B, K, 3, H, W], and has K times as many features and embeddings. Several pictures of a row
    follow each other in the same way, in the order of their image tokens.

    Attributes:
        config: of the whole model; has `text_config` and `image_token_id`.
        vision_tower: pixels [B, 3, H, W] to features [B, P, C]; `num_patches` P, `feature_size` C.
        projector: features to image embeddings [B, N, hidden].
        language_model: laid out as `LlamaForCausalLM` is.
        layout: of the rows that stand for tokens; None: rows are embeddings. What this class calls
            embeddings are rows then, `row_width` wide.
    """

    config: Any
    vision_tower: nn.Module
    projector: nn.Module
    language_model: Any
    layout: RowLayout | None = None

    if TYPE_CHECKING:
        # A model of transformers has more attributes than a module.
        def __getattr__(self, name: str) -> Any: ...

    @property
    def whole(self) -> Any:
        """The model that gives tensors and modules their names: adapters go in there."""
        return self

    @property
    def image_size(self) -> int:
        """Side of the square picture that the tower reads, in pixels."""
        raise NotImplementedError

    @property
    def num_image_tokens(self) -> int:
        """N, the embeddings of one picture."""
        return int(self.projector.num_tokens)  # type: ignore[arg-type]

    @property
    def num_patches(self) -> int:
        """P, the features of one picture."""
        return int(self.vision_tower.num_patches)  # type: ignore[arg-type]

    @property
    def feature_size(self) -> int:
        """C, the width of a feature."""
        return int(self.vision_tower.feature_size)  # type: ignore[arg-type]

    @property
    def picture_rows(self) -> PictureRows | None:
        """How the projector is called, and what stands beside its result; None: on features."""
        found = self._modules.get("rows_of_pictures")
        return found if isinstance(found, PictureRows) else None

    @property
    def row_width(self) -> int:
        """Width of a row, which is what hosts pass for a token."""
        return self.layout.width if self.layout else int(self.config.text_config.hidden_size)

    @property
    def row_text(self) -> RowText:
        """The text model as it reads rows."""
        layout = self.layout or RowLayout(int(self.config.text_config.hidden_size))
        return RowText(self.language_model.model, layout)

    @property
    def projector_name(self) -> str:
        """Name of the projector in the whole model."""
        return self.name_of(self.projector)

    @property
    def layers_name(self) -> str:
        """Name of the list of the language model's layers in the whole model."""
        return self.name_of(self.language_model.model.layers)

    def name_of(self, module: nn.Module) -> str:
        """Return the name of a module in the whole model."""
        return next(str(name) for name, found in self.whole.named_modules() if found is module)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of training; the tower is frozen and stays in that of evaluation.

        Statistics of its batch norms would move otherwise, and neither adapter nor merge has them.
        """
        super().train(mode)
        self.vision_tower.eval()
        return self

    def vision_features(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [B, 3, H, W] to features [B, P, C]; frozen, so features can be cached.

        Of pixels [B, K, 3, H, W] it returns [B, K * P, C].
        """
        if pixel_values.dim() == 4:
            features: Tensor = self.vision_tower(pixel_values)
            return features
        features = self.vision_tower(pixel_values.flatten(0, 1))
        return features.reshape(len(pixel_values), -1, features.shape[-1])

    def project(self, features: Tensor) -> Tensor:
        """Map features [B, P, C] to image embeddings [B, N, hidden]; K * P become K * N."""
        batch, squares = len(features), features.shape[1] // self.num_patches
        if squares > 1:
            features = features.reshape(batch * squares, self.num_patches, -1)
        rows: Tensor = (
            self.picture_rows(self.projector, features)
            if self.picture_rows is not None
            else self.projector(features)
        )
        if squares <= 1:
            return rows
        rows = rows.reshape(batch, squares, -1, rows.shape[-1])
        if self.layout and self.layout.marks:
            # Rows of one picture see each other both ways, and not those of another.
            numbers = torch.arange(1, squares + 1, device=rows.device, dtype=rows.dtype)
            marks = rows[..., -1:] * numbers[:, None, None]
            rows = torch.cat([rows[..., :-1], marks], -1)
        return rows.flatten(1, 2)

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """Map pixels [B, 3, H, W] to image embeddings [B, N, hidden]."""
        return self.project(self.vision_features(pixel_values))

    def embed_tokens(self, input_ids: Tensor) -> Tensor:
        """Map ids [B, S] to embeddings [B, S, hidden].

        An image token outside of the table gets the row of id 0; one inside keeps its own, which a
        model that writes such a token reads as any other.
        """
        safe, image = input_ids, self.config.image_token_id
        if image >= self.config.text_config.vocab_size:
            safe = torch.where(input_ids == image, 0, input_ids)
        embeddings: Tensor = self.language_model.get_input_embeddings()(safe)
        return token_rows(embeddings, self.layout) if self.layout else embeddings

    def new_cache(self) -> Cache | None:
        """Return an empty cache; None where the first call makes one."""
        return DynamicCache() if self.row_text.plain else None

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
            attention_mask: [B, S_total] of ones and zeros; or [B, 1, S, S_total], bool (True where
                a row may look at a column) or additive float.
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
        if self.row_text.plain:
            outputs = self.language_model.model(
                inputs_embeds=inputs_embeds,
                attention_mask=self._additive(attention_mask, inputs_embeds.dtype),
                position_ids=position_ids,
                cache=cache,
                use_cache=use_cache,
                **kwargs,
            )
            hidden, cache = outputs.last_hidden_state, outputs.cache
        else:
            several = attention_mask is not None and attention_mask.dim() == 4
            seen = attention_mask[:, 0] if attention_mask is not None and several else None
            hidden, cache = self._read_rows(
                inputs_embeds, seen, position_ids if several else None, cache, use_cache
            )
        if labels is None:
            logits = self.language_model.lm_head(hidden[:, -logits_to_keep:])
            return CausalLMOutputWithPast(logits=logits, cache=cache)
        targets = labels[:, 1:].reshape(-1)
        chosen = (targets != IGNORE_INDEX).nonzero().squeeze(1)
        flat = hidden[:, :-1].reshape(-1, hidden.shape[-1])
        logits = self.language_model.lm_head(flat.index_select(0, chosen))
        loss = F.cross_entropy(logits.float(), targets.index_select(0, chosen))
        return CausalLMOutputWithPast(loss=loss, logits=logits, cache=cache)

    def _additive(self, mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """Return a mask as the text model's attention reads it.

        transformers' "eager" adds a mask of 4 dimensions to the scores: a bool one would hide
        nothing.
        """
        eager = self.language_model.model.config._attn_implementation == "eager"
        if mask is None or mask.dtype is not torch.bool or mask.dim() != 4 or not eager:
            return mask
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=mask.device)
        return torch.where(mask, torch.zeros_like(hidden), hidden)

    def _read_rows(
        self,
        rows: Tensor,
        seen: Tensor | None,
        places: Tensor | None,
        cache: Any,
        use_cache: bool | None,
    ) -> tuple[Tensor, Any]:
        """Return hidden states [B, S, hidden] of rows, and the cache that has them now."""
        text = self.row_text
        if not use_cache:
            return text(rows, seen=seen, places=places), None
        cache = cache or text.new_cache(rows)
        start, end = cache.length, cache.length + rows.shape[1]
        cache.reserve(end)
        cache.at(torch.arange(start, end, device=rows.device), end)
        hidden = text(rows, cache)
        cache.length = end
        return hidden, cache

    def reference_logits(self, input_ids: Tensor, pixel_values: Tensor) -> Tensor | None:
        """Return logits [1, V] behind `input_ids` [1, S] by a forward that is none of ours.

        None where this class is the model itself, whose own forward is `forward`.
        """
        return None

    def reference_image(self, pixel_values: Tensor) -> Tensor | None:
        """Return the embeddings [N, hidden] of pixels [1, 3, H, W] by code that is none of ours.

        None where this class is the model itself.
        """
        return None


class TextModel(nn.Module):
    """A text model and its head, side by side as `LlamaForCausalLM` has them.

    Args:
        model: with `layers`, `norm`, `rotary_emb` and `embed_tokens`.
        head: from its last hidden states to logits.
        config: of the text model.
    """

    def __init__(self, model: nn.Module, head: nn.Module, config: Any) -> None:
        super().__init__()
        self.model: Any = model
        self.lm_head = head
        self.config = config

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of token embeddings."""
        table: nn.Module = self.model.get_input_embeddings()
        return table

    def get_output_embeddings(self) -> nn.Module:
        """Return the head over the vocabulary."""
        return self.lm_head

    def activation_checkpointing_enable(self, settings: dict[str, Any]) -> None:
        """Keep the input of each layer alone for the backward pass."""
        self.model.activation_checkpointing_enable(settings)

    def activation_checkpointing_disable(self) -> None:
        """Keep all activations again."""
        self.model.activation_checkpointing_disable()


class SplitModel(VisionLanguageModel):
    """A model of transformers, seen in its parts; modules and weights are the model's own.

    Args:
        whole: the model.
        tower: see `VisionLanguageModel`; must give the features that `connector` reads.
        connector: its projector.
        text: its text model, without the head.
        head: the head over the vocabulary.
        image_size: side of the picture in pixels.
        image_tokens: N.
        picture_inputs: how the model's own forward takes a picture.
        layout: of rows; None: rows are embeddings.
        grid: see `PictureRows`.
        token_kinds: the keyword of the model's own forward that says which ids are a picture's;
            empty: it has none.
    """

    def __init__(
        self,
        whole: Any,
        *,
        tower: nn.Module,
        connector: nn.Module,
        text: nn.Module,
        head: nn.Module,
        image_size: int,
        image_tokens: int,
        picture_inputs: PictureInputs,
        layout: RowLayout | None = None,
        grid: tuple[int, ...] = (),
        token_kinds: str = "",
    ) -> None:
        super().__init__()
        # In a tuple it is no child: everything of it is in the parts.
        self._whole = (whole,)
        self._image_size, self._image_tokens = image_size, image_tokens
        self._picture_inputs = picture_inputs
        self.config = whole.config
        self.vision_tower = tower
        self.projector = connector
        self.language_model = TextModel(text, head, whole.config.get_text_config())
        self.layout, self._token_kinds = layout, token_kinds
        if layout is not None:
            self.rows_of_pictures = PictureRows(layout, image_tokens, grid)

    @property
    def whole(self) -> Any:
        """The model of transformers."""
        return self._whole[0]

    @property
    def image_size(self) -> int:
        """Side of the square picture that the tower reads, in pixels."""
        return self._image_size

    @property
    def num_image_tokens(self) -> int:
        """N, the embeddings of one picture."""
        return self._image_tokens

    def tie_weights(self) -> None:
        """Make head and table one again where the model has them tied."""
        self.whole.tie_weights()

    def reference_logits(self, input_ids: Tensor, pixel_values: Tensor) -> Tensor | None:
        """Return logits [1, V] behind `input_ids` [1, S] by transformers' own forward.

        Args:
            input_ids: with one image token for each embedding of the picture.
            pixel_values: [1, 3, H, W], or [1, K, 3, H, W] of tiles or of several pictures.
        """
        output = self.whole(**self.own_inputs(input_ids, pixel_values), use_cache=False)
        logits: Tensor = output.logits[:, -1]
        return logits

    def own_inputs(self, input_ids: Tensor, pixel_values: Tensor) -> dict[str, Tensor]:
        """Return what transformers' own forward takes for `input_ids` [1, S] and its pictures."""
        inputs = self._picture_inputs(_squares(pixel_values))
        if self._token_kinds:
            inputs[self._token_kinds] = (input_ids == self.config.image_token_id).long()
        mask = torch.ones_like(input_ids)
        return {"input_ids": input_ids, "attention_mask": mask, **inputs}

    def reference_image(self, pixel_values: Tensor) -> Tensor | None:
        """Return the embeddings of a picture by transformers' own code.

        Args:
            pixel_values: [1, 3, H, W], or [1, K, 3, H, W].

        Returns:
            [K * N, hidden], and the features of a deep stack beside it, where the class has one.
        """
        inputs = self._picture_inputs(_squares(pixel_values))
        # Some classes have it in the model inside alone.
        own = self.whole if hasattr(self.whole, "get_image_features") else self.whole.model
        output = own.get_image_features(**inputs, return_dict=True)
        # Some classes give a list of pictures, others a batch.
        parts = [torch.cat(list(output.pooler_output))]
        parts += [found[0] for found in getattr(output, "deepstack_features", None) or ()]
        return torch.cat(parts, -1)


def _squares(pixel_values: Tensor) -> Tensor:
    """Return the squares [K, 3, H, W] of one picture, or of several."""
    return pixel_values[0] if pixel_values.dim() == 5 else pixel_values
