"""A decoder traced from transformers' own text model, with a few parts swapped from outside.

For text models that the decoders written by hand would read wrongly: norms of q and k, rotary
positions on several axes, deep stacks, sliding windows, convolutions, pictures that attend both
ways. What is swapped is what a phone is slow at: the cache, attention, and the mean of a norm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from hydra_export.graphs.decoder import Attention, RMSNorm
from hydra_mobile.models.rows import RowText, SlotCache

_NAME = "hydra_export_custom"


class _InPlaceCache(SlotCache):
    """States in buffers of a program, which are written in place."""

    #: First slot of this call, and whether keys and values lie as ExecuTorch's operators want them.
    start = 0
    custom = False

    def write(self, name: str, values: Tensor) -> Tensor:
        """Put values into their slots; return all slots."""
        return self.buffers[name].index_copy_(2, self.where, values)

    def update(self, k: Tensor, v: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep keys and values; return all slots of both."""
        if not self.custom:
            return super().update(k, v, layer)
        found = []
        for part, values in (("key", k), ("value", v)):
            buffer = self.buffers[f"{layer}.{part}"]
            torch.ops.llama.update_cache(values.transpose(1, 2), buffer, self.start)
            found.append(buffer)
        return found[0], found[1]


def _custom_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend by ExecuTorch's operator, over the slots [1, T, heads, D] of a cache."""
    cache, masked = module.hydra_state["cache"], module.hydra_state["masked"]
    start, mask = cache.start, None
    if masked:
        assert attention_mask is not None
        mask = attention_mask[0, 0].contiguous()
    query = query.transpose(1, 2)
    if scaling is not None:
        # The operator divides by the root of the head's size.
        query = query * (scaling * query.shape[-1] ** 0.5)
    out = torch.ops.llama.custom_sdpa(query, key, value, start, mask, 0.0, mask is None)
    return cast(Tensor, out), None


class TracedDecoder(nn.Module):
    """Rows and a start position in, logits of the last position out; the cache is inside.

    Args:
        model: the whole vision-language model; its text model is changed in place.
        max_context: tokens that the cache holds.
        build: see `hydra_export.graphs.decoder.Attention`.
    """

    def __init__(self, model: Any, max_context: int, build: Attention) -> None:
        super().__init__()
        self.max_context, self.build = max_context, build
        self.text, self.head = model.language_model.model, model.language_model.lm_head
        self.reader: RowText = model.row_text
        self.norms = swap_norms(self.text)
        self.attention_layers = sum(kind != "conv" for kind in self.reader.layers)
        for name, (heads, size) in self.reader.shapes().items():
            custom = build == "custom" and name.endswith((".key", ".value"))
            shape = (1, max_context, heads, size) if custom else (1, heads, max_context, size)
            self.register_buffer(_attribute(name), torch.zeros(shape), persistent=False)
        self.register_buffer("slots", torch.arange(max_context), persistent=False)
        self._state: dict[str, Any] = {}
        if build == "custom":
            AttentionInterface.register(_NAME, _custom_attention)
            self.text.config._attn_implementation = _NAME
            marks = self.reader.layout.marks
            for index, kind in enumerate(self.reader.layers):
                if kind != "conv":
                    # A plain dictionary: no state of the module.
                    own = {"masked": marks or kind == "sliding_attention"}
                    self._state[str(index)] = own
                    self.text.layers[index].self_attn.hydra_state = own
        else:
            self.text.config._attn_implementation = "eager"

    def forward(self, embeddings: Tensor, input_pos: Tensor) -> Tensor:
        """Append to the cache and predict.

        Args:
            embeddings: rows float32 [1, S, width].
            input_pos: int64 [1], tokens that are in the cache already.

        Returns:
            Logits float32 [1, 1, V] of the last position.
        """
        length = embeddings.shape[1]
        start = cast(int, input_pos[0].item())
        # Bounds for the exporter: they let it slice the tables by a number that it cannot know.
        check = cast(Callable[[bool], None], torch._check)
        check(start >= 0)
        check(start < self.max_context)
        check(start + length <= self.max_context)
        buffers = {name: getattr(self, _attribute(name)) for name in self.reader.shapes()}
        cache = _InPlaceCache(self.reader.layers, buffers, self.reader.kernel)
        cache.start, cache.custom = start, self.build == "custom"
        cache.at(cast(Tensor, self.slots).narrow(0, start, length), self.max_context)
        for own in self._state.values():
            own["cache"] = cache
        hidden = self.reader(embeddings, cache)
        return cast(Tensor, self.head(hidden[:, -1:]))


def _attribute(name: str) -> str:
    return "cache_" + name.replace(".", "_")


def swap_norms(text: nn.Module) -> int:
    """Replace RMSNorms, in place, by ones whose mean is a product; return how many there were.

    A norm whose weight is stored without its one (Gemma) gets it back. What computes anything else
    stays as it is.
    """
    count = 0
    for parent in list(text.modules()):
        for name, child in list(parent.named_children()):
            swapped = _swapped(child)
            if swapped is not None:
                setattr(parent, name, swapped)
                count += 1
    return count


class _Norm(nn.Module):
    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.variance_epsilon = eps


def _swapped(norm: nn.Module) -> RMSNorm | None:
    if not type(norm).__name__.endswith("RMSNorm"):
        return None
    weight = getattr(norm, "weight", None)
    eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    if weight is None or weight.dim() != 1 or eps is None:
        return None
    size = weight.shape[0]
    row = torch.full((1, size), 1.0 / size)
    sample = torch.randn(3, size, generator=torch.Generator().manual_seed(0))
    wanted = norm(sample)
    for candidate in (weight.detach(), 1.0 + weight.detach()):
        found = RMSNorm(_Norm(candidate, float(eps)), row)
        if torch.allclose(found(sample), wanted, atol=1e-5, rtol=1e-5):
            return found
    return None
