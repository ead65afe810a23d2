"""The text decoder as one graph for prefill and decode, with the cache inside.

Plain modules over the submodules of a Hugging Face Llama: no masks passed in, no cache classes,
no branches on data. Three rearrangements leave the arithmetic as it was and the graph smaller:

* q, k and v are one linear, gate and up another (rows side by side, so quantizing by row or by
  group of a row gives the same numbers, and an input is quantized once instead of three times);
* the mean square of RMSNorm is a product with a constant row, which delegates take, whereas they
  leave `mean` outside and are cut in two by it;
* the rotary product takes its sign from the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydra_export.graphs.llama_layers import require_llama_layers
from hydra_export.graphs.stored import StoredLinear, StoredStack
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.vision_language import head_dim

#: "custom": the operators llama::update_cache and llama::custom_sdpa; "manual": plain matmuls.
Attention = Literal["custom", "manual"]


def fuse_linears(*linears: nn.Linear) -> nn.Linear:
    """Return one linear that computes all of `linears` side by side.

    Their weights become views of the new one, so nothing is held twice and they go on working.
    Stored ones keep theirs until the new one is widened.
    """
    if isinstance(linears[0], StoredLinear):
        return StoredStack(linears)
    fused = nn.Linear(1, 1, bias=linears[0].bias is not None, device="meta")
    fused.in_features = linears[0].in_features
    fused.out_features = sum(linear.out_features for linear in linears)
    for name in ("weight", "bias") if linears[0].bias is not None else ("weight",):
        whole = torch.cat([getattr(linear, name).detach() for linear in linears])
        setattr(fused, name, nn.Parameter(whole, requires_grad=False))
        start = 0
        for linear in linears:
            part = getattr(linear, name)
            part.data = whole.narrow(0, start, linear.out_features)
            start += linear.out_features
    return fused


class RMSNorm(nn.Module):
    """Root mean square norm whose mean is a product with a constant row."""

    def __init__(self, norm: Any, ones: Tensor) -> None:
        super().__init__()
        self.weight = norm.weight
        self.eps = float(norm.variance_epsilon)
        self.register_buffer("mean_row", ones, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [1, S, hidden] over its last dimension."""
        mean_square = F.linear(x * x, cast(Tensor, self.mean_row))
        return cast(Tensor, self.weight * (x * torch.rsqrt(mean_square + self.eps)))


def rotary_tables(language_model: Any, length: int) -> tuple[Tensor, Tensor]:
    """Return cos and signed sin, each [length, head_dim], for positions 0..length-1.

    sin carries the minus of the half rotation: `x * cos + swap_halves(x) * sin`.

    Raises:
        ArtifactError: the rotary type changes its tables with the length of the sequence.
    """
    rotary = language_model.model.rotary_emb
    kind = getattr(rotary, "rope_type", "default")
    if kind in ("dynamic", "longrope"):
        raise ArtifactError(
            f"Rotary type `{kind}` changes with the sequence length; fixed tables cannot hold it.",
            "Use a base with rotary type default, linear, yarn or llama3.",
        )
    positions = torch.arange(length).unsqueeze(0)
    cos, sin = rotary(torch.zeros(1, 1, dtype=torch.float32), positions)
    half = sin.shape[-1] // 2
    signed = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)
    return cos[0].float().contiguous(), signed.float().contiguous()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x [1, S, heads, D] by tables [S, 1, D] (Su et al. 2021, halves as in Llama)."""
    half = x.shape[-1] // 2
    swapped = torch.cat([x[..., half:], x[..., :half]], dim=-1)
    return x * cos + swapped * sin


class Attend(nn.Module):
    """Grouped-query attention over a cache that it owns; keys and values are never repeated."""

    def __init__(self, config: Any, max_context: int, build: Attention) -> None:
        super().__init__()
        self.build = build
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.dim = head_dim(config)
        shape = (
            (1, max_context, self.kv_heads, self.dim)
            if build == "custom"
            else (1, self.kv_heads, max_context, self.dim)
        )
        self.register_buffer("k_cache", torch.zeros(shape), persistent=False)
        self.register_buffer("v_cache", torch.zeros(shape), persistent=False)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, start: int, positions: Tensor, mask: Tensor
    ) -> Tensor:
        """Attend.

        Args:
            q: [1, S, heads, D], rotated.
            k: [1, S, kv_heads, D], rotated.
            v: [1, S, kv_heads, D].
            start: tokens that are in the cache already.
            positions: [S] int64, `start`.. (used by the manual build).
            mask: [S, max_context], 0 where visible and -inf where not (manual build).

        Returns:
            [1, S, heads * D].
        """
        k_cache, v_cache = cast(Tensor, self.k_cache), cast(Tensor, self.v_cache)
        length = q.shape[1]
        if self.build == "custom":
            torch.ops.llama.update_cache(k, k_cache, start)
            torch.ops.llama.update_cache(v, v_cache, start)
            out = torch.ops.llama.custom_sdpa(q, k_cache, v_cache, start, None, 0.0, True)
            return cast(Tensor, out).reshape(1, length, self.heads * self.dim)
        k_cache.index_copy_(2, positions, k.transpose(1, 2))
        v_cache.index_copy_(2, positions, v.transpose(1, 2))
        group = self.heads // self.kv_heads
        # Heads of one group share keys: stack them as rows, [kv_heads, group * S, D].
        rows = q.reshape(length, self.kv_heads, group, self.dim).permute(1, 2, 0, 3)
        rows = rows.reshape(self.kv_heads, group * length, self.dim) * self.dim**-0.5
        scores = torch.bmm(rows, k_cache[0].transpose(1, 2))
        scores = scores.reshape(self.kv_heads, group, length, -1) + mask
        weights = torch.softmax(scores, dim=-1)
        out = torch.bmm(weights.reshape(self.kv_heads, group * length, -1), v_cache[0])
        out = out.reshape(self.kv_heads, group, length, self.dim).permute(2, 0, 1, 3)
        return out.reshape(1, length, self.heads * self.dim)


class DecoderLayer(nn.Module):
    """One layer of a Llama: attention and gated MLP, each behind a norm and a residual."""

    def __init__(
        self, layer: Any, config: Any, max_context: int, build: Attention, mean_row: Tensor
    ) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.attention_norm = RMSNorm(layer.input_layernorm, mean_row)
        self.qkv = fuse_linears(attention.q_proj, attention.k_proj, attention.v_proj)
        self.attend = Attend(config, max_context, build)
        self.out = attention.o_proj
        self.mlp_norm = RMSNorm(layer.post_attention_layernorm, mean_row)
        self.gate_up = fuse_linears(mlp.gate_proj, mlp.up_proj)
        self.down = mlp.down_proj
        self.activation = mlp.act_fn

    def forward(
        self,
        x: Tensor,
        start: int,
        cos: Tensor,
        sin: Tensor,
        positions: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Map x [1, S, hidden] to the same shape."""
        heads, kv, dim = self.attend.heads, self.attend.kv_heads, self.attend.dim
        qkv = self.qkv(self.attention_norm(x)).reshape(1, x.shape[1], heads + 2 * kv, dim)
        qk = rotate(qkv[:, :, : heads + kv], cos, sin)
        attended = self.attend(
            qk[:, :, :heads], qk[:, :, heads:], qkv[:, :, heads + kv :], start, positions, mask
        )
        x = x + self.out(attended)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return cast(Tensor, x + self.down(self.activation(gate) * up))


class TextDecoder(nn.Module):
    """Embeddings and a start position in, logits of the last position out.

    Args:
        language_model: a `LlamaForCausalLM`; its weights are shared, its q, k, v, gate and up
            weights become views of the fused ones.
        max_context: tokens that the cache holds.
        build: see `Attention`.

    Raises:
        HydraError: the layers have something that this graph would leave out.
    """

    def __init__(self, language_model: Any, max_context: int, build: Attention) -> None:
        super().__init__()
        require_llama_layers(language_model)
        config = language_model.config
        self.max_context = max_context
        self.build = build
        mean_row = torch.full((1, config.hidden_size), 1.0 / config.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(layer, config, max_context, build, mean_row)
            for layer in language_model.model.layers
        )
        self.norm = RMSNorm(language_model.model.norm, mean_row)
        self.head = language_model.lm_head
        cos, sin = rotary_tables(language_model, max_context)
        self.register_buffer("cos", cos.unsqueeze(1), persistent=False)
        self.register_buffer("sin", sin.unsqueeze(1), persistent=False)
        if build == "manual":
            blocked = torch.full((max_context, max_context), float("-inf")).triu(1)
            self.register_buffer("mask", blocked, persistent=False)
            self.register_buffer("positions", torch.arange(max_context), persistent=False)

    def forward(self, embeddings: Tensor, input_pos: Tensor) -> Tensor:
        """Append to the cache and predict.

        Args:
            embeddings: float32 [1, S, hidden].
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
        cos = cast(Tensor, self.cos).narrow(0, start, length)
        sin = cast(Tensor, self.sin).narrow(0, start, length)
        positions = mask = embeddings  # not read by the custom build
        if self.build == "manual":
            positions = cast(Tensor, self.positions).narrow(0, start, length)
            mask = cast(Tensor, self.mask).narrow(0, start, length)
        x = embeddings
        for layer in self.layers:
            x = layer(x, start, cos, sin, positions, mask)
        return cast(Tensor, self.head(self.norm(x[:, -1:, :])))
