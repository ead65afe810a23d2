"""The text decoder as one graph without state: the cache comes in, the new rows of it go out.

For runtimes whose own state is not to be relied on. All shapes are fixed: a call has S rows, of
which the first `count` are real, and the cache has room for T tokens, of which the first `position`
are real. What keeps it quick where a tensor that goes out is copied:

* only the S new rows of keys and values go out, never the whole cache; the host writes them behind
  the old ones;
* the cache is read where it lies: scores over the cache and over the new rows are computed apart
  and joined before the softmax, so that nothing of the size of the cache is joined or copied.

And what keeps it right in 16 bits: rows are scaled by their largest element before they are
squared, which would pass 65504 from 256 on, and what is not visible gets -10000 and not -inf, which
turns into NaN on some of Apple's engines.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from hydra_export.graphs.decoder import fuse_linears, rotary_tables, rotate
from hydra_export.graphs.llama_layers import require_llama_layers
from hydra_mobile.models.vision_language import head_dim

#: Added to the score of what is not visible: far below any score, and exact in 16 bits.
HIDDEN = -1e4


class ScaledRMSNorm(nn.Module):
    """Root mean square norm that squares no number above 1."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = norm.weight
        # Tensors, since a number divided by a tensor becomes CoreML's `inverse`, which adds 1e-4.
        self.register_buffer("root_eps", torch.tensor(float(norm.variance_epsilon) ** 0.5), False)
        # Rows of zeros, the padding, must not be divided by zero.
        self.register_buffer("smallest", torch.tensor(1e-3), False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [1, S, hidden] over its last dimension."""
        largest = torch.maximum(x.abs().amax(-1, keepdim=True), cast(Tensor, self.smallest))
        scaled = x / largest
        floor = torch.div(cast(Tensor, self.root_eps), largest)
        mean_square = (scaled * scaled).mean(dim=-1, keepdim=True)
        return cast(Tensor, scaled * torch.rsqrt(mean_square + floor * floor) * self.weight)


class StatelessLayer(nn.Module):
    """One layer of a Llama over a cache that it is given."""

    def __init__(self, layer: Any, config: Any) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.dim = head_dim(config)
        self.attention_norm = ScaledRMSNorm(layer.input_layernorm)
        self.qkv = fuse_linears(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = attention.o_proj
        self.mlp_norm = ScaledRMSNorm(layer.post_attention_layernorm)
        self.gate_up = fuse_linears(mlp.gate_proj, mlp.up_proj)
        self.down = mlp.down_proj
        self.activation = mlp.act_fn

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map a chunk.

        Args:
            x: [1, S, hidden].
            keys: [kv_heads, T, D], rotated.
            values: [kv_heads, T, D].
            cos: [S, 1, D].
            sin: [S, 1, D].
            mask: [S, T + S], added to the scores.

        Returns:
            x [1, S, hidden], and the chunk's keys and values, [kv_heads, S, D] each.
        """
        length, room = x.shape[1], keys.shape[1]
        heads, kv, dim = self.heads, self.kv_heads, self.dim
        qkv = self.qkv(self.attention_norm(x)).reshape(1, length, heads + 2 * kv, dim)
        qk = rotate(qkv[:, :, : heads + kv], cos, sin)
        # Heads of one group share keys: stack them as rows, [kv_heads, group * S, D].
        rows = qk[0, :, :heads].reshape(length, kv, heads // kv, dim).permute(1, 2, 0, 3)
        rows = rows.reshape(kv, heads // kv * length, dim) * dim**-0.5
        new_keys = qk[0, :, heads:].transpose(0, 1)
        new_values = qkv[0, :, heads + kv :].transpose(0, 1)
        scores = torch.cat(
            [rows @ keys.transpose(1, 2), rows @ new_keys.transpose(1, 2)], dim=-1
        ).reshape(kv, heads // kv, length, room + length)
        weights = torch.softmax(scores + mask, dim=-1).reshape(kv, -1, room + length)
        out = weights[..., :room] @ values + weights[..., room:] @ new_values
        out = out.reshape(kv, heads // kv, length, dim).permute(2, 0, 1, 3)
        x = x + self.out(out.reshape(1, length, heads * dim))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(self.activation(gate) * up), new_keys, new_values


class StatelessDecoder(nn.Module):
    """Embeddings, a position and the cache in; logits and new rows of the cache out.

    Args:
        language_model: a `LlamaForCausalLM`; its weights are shared, its q, k, v, gate and up
            weights become views of the fused ones.
        max_context: T, tokens that the cache has room for.
        max_length: the largest S.

    Raises:
        HydraError: the layers have something that this graph would leave out.
    """

    def __init__(self, language_model: Any, max_context: int, max_length: int) -> None:
        super().__init__()
        require_llama_layers(language_model)
        config = language_model.config
        self.layers = nn.ModuleList(
            StatelessLayer(layer, config) for layer in language_model.model.layers
        )
        self.norm = ScaledRMSNorm(language_model.model.norm)
        self.head = language_model.lm_head
        # The padding of a last chunk may reach beyond the cache.
        cos, sin = rotary_tables(language_model, max_context + max_length)
        self.register_buffer("cos", cos.unsqueeze(1), persistent=False)
        self.register_buffer("sin", sin.unsqueeze(1), persistent=False)
        self.register_buffer("slots", torch.arange(max_context, dtype=torch.int32), False)

    def forward(
        self, embeddings: Tensor, position: Tensor, count: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict the token after row `count - 1`.

        Args:
            embeddings: float32 [1, S, hidden]; rows from `count` on are padding.
            position: int32 [1], tokens that are in the cache already.
            count: int32 [1], rows that are real, 1 to S.
            keys: float32 [layers, kv_heads, T, D]; what lies beyond `position` is not read, but
                must be finite.
            values: the same.

        Returns:
            Logits float32 [1, 1, V]; the new keys and values [layers, kv_heads, S, D], of which the
            first `count` belong at `position` in the cache.
        """
        length = embeddings.shape[1]
        steps = torch.arange(length, dtype=torch.int32)
        cos = cast(Tensor, self.cos).index_select(0, position + steps)
        sin = cast(Tensor, self.sin).index_select(0, position + steps)
        old = torch.where(cast(Tensor, self.slots) < position, 0.0, HIDDEN)
        new = torch.full((length, length), HIDDEN).triu(1)
        mask = torch.cat([old.unsqueeze(0).expand(length, -1), new], dim=-1)
        x = embeddings
        new_keys, new_values = [], []
        for index, layer in enumerate(self.layers):
            x, key, value = layer(x, keys[index], values[index], cos, sin, mask)
            new_keys.append(key)
            new_values.append(value)
        last = x.index_select(1, count - 1)
        return self.head(self.norm(last)), torch.stack(new_keys), torch.stack(new_values)
