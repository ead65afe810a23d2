"""The text decoder in ONNX: a Llama written with the operators that onnxruntime is fastest at.

Attention with rotary embedding and cache is one GroupQueryAttention, which writes into the cache in
place when the caller binds past and present to one buffer, and otherwise returns a longer one.
Inputs and outputs carry the names that transformers.js and optimum look up. The logits are those of
the last position alone: that is all a generation reads, and the head is a fifth of a small model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hydra_export.graphs.llama_layers import require_llama_layers
from hydra_export.graphs.stored import stacked
from hydra_export.quantization.plan import QuantizationPlan
from hydra_export.targets.onnx.graph_writer import MICROSOFT, Graph
from hydra_export.targets.onnx.linear import (
    AdapterSlot,
    Linear,
    StoredInt4,
    emit_linear,
    emit_updates,
)
from hydra_mobile.core.errors import HydraError
from hydra_mobile.models.vision_language import head_dim

# Rotary embeddings whose angles do not depend on the length of the input.
_STATIC_ROPE = ("default", "linear", "llama3", "yarn")


def decoder_graph(
    model: Any,
    plan: QuantizationPlan,
    max_context: int,
    group: int = 32,
    *,
    adapters: bool = False,
    table: StoredInt4 | None = None,
) -> Graph:
    """Return the graph of a LlamaForCausalLM.

    Inputs: `inputs_embeds` float [batch, n, hidden], `attention_mask` int64 [batch, past + n] (its
    length is the length of the cache after this call), `position_ids` int64 [batch, n], and
    `past_key_values.{i}.key` and `.value` float [batch, kv heads, past, head size] of each layer.
    Outputs: `logits` float [batch, 1, vocabulary] and `present.{i}.key` and `.value`.
    Padding is not supported: sequences of a batch have one length. With `adapters`, every slot of
    `adapter_slots` has two inputs more, float A [in, rank] and B [rank, out], empty by default.

    Args:
        model: the language model, fp32 on the CPU.
        plan: precision of every unit, and the 4-bit weights that are rounded already.
        max_context: positions that the rotary table covers.
        group: weights that share a scale at 4 bits.
        adapters: give the linears of the layers low-rank updates as inputs.
        table: the embedding's 4-bit weight in its own graph's file, where the head is the same.

    Raises:
        HydraError: the model is a Llama variant that the graph does not cover.
    """
    require_llama_layers(model)
    _check_supported(model.config)
    slots = adapter_slots(model) if adapters else {}
    return _DecoderWriter(model, plan, max_context, group, slots, table).write()


def adapter_slots(model: Any) -> dict[Any, AdapterSlot]:
    """Return the linears that can carry an adapter: all of the layers of a LlamaForCausalLM.

    Names are those of the whole vision-language model, which adapters are trained on.
    """
    return {
        part: AdapterSlot(f"language_model.{name}", (int(part.out_features), int(part.in_features)))
        for name, part in model.named_modules()
        if name.startswith("model.layers.") and isinstance(part, nn.Linear)
    }


def _check_supported(config: Any) -> None:
    if config.hidden_act != "silu":
        raise HydraError(
            f"The ONNX decoder has no activation `{config.hidden_act}`: silu was expected.",
            "Export this model with --runtime executorch.",
        )
    kind = (config.rope_parameters or {}).get("rope_type", "default")
    if kind not in _STATIC_ROPE:
        raise HydraError(
            f"The ONNX decoder has no rotary embedding of type `{kind}`: its angles change with "
            f"the length of the input. Supported: {', '.join(_STATIC_ROPE)}.",
            "Export this model with --runtime executorch.",
        )


class _DecoderWriter:
    def __init__(
        self,
        model: Any,
        plan: QuantizationPlan,
        max_context: int,
        group: int,
        slots: Mapping[Any, AdapterSlot],
        table: StoredInt4 | None,
    ) -> None:
        self.model, self.plan, self.max_context, self.group = model, plan, max_context, group
        self.slots, self.table = slots, table
        self.config = model.config
        self.head_dim = head_dim(self.config)
        self.graph = Graph("decoder_model_merged")

    def write(self) -> Graph:
        graph, config = self.graph, self.config
        hidden = graph.input("inputs_embeds", np.float32, ["batch", "length", config.hidden_size])
        graph.output("logits", np.float32, ["batch", 1, config.vocab_size])
        self._shared_inputs()
        layers = self.model.model.layers
        # `residual` is the sum so far, `hidden` the branch that the next norm adds to it.
        residual = ""
        for index, layer in enumerate(layers):
            name = f"layers.{index}"
            normed, residual = self._norm(
                f"{name}.input_norm", layer.input_layernorm, hidden, residual
            )
            hidden = self._attention(index, layer.self_attn, normed)
            normed, residual = self._norm(
                f"{name}.post_norm", layer.post_attention_layernorm, hidden, residual
            )
            hidden = self._mlp(name, layer.mlp, normed)
        normed, _ = self._norm("norm", self.model.model.norm, hidden, residual)
        self._head(normed)
        return graph

    def _shared_inputs(self) -> None:
        """Declare masks, positions and rotary tables, and derive what GroupQueryAttention reads."""
        graph = self.graph
        mask = graph.input("attention_mask", np.int64, ["batch", "total_length"])
        self.positions = graph.input("position_ids", np.int64, ["batch", "length"])
        axis = graph.constant("axis_length", np.array([1]))
        one = graph.constant("one", np.array([1]))
        used = graph.node("ReduceSum", [mask, axis], "used_length", keepdims=0)
        last = graph.node("Sub", [used, one], "last_position")
        self.last_position = graph.node("Cast", [last], "last_position_int32", to=6)
        total = graph.node("Shape", [mask], "total_length_1d", start=1, end=2)
        total = graph.node("Squeeze", [total], "total_length")
        self.total = graph.node("Cast", [total], "total_length_int32", to=6)
        cos, sin = _rotary_tables(self.model.model.rotary_emb, self.max_context)
        self.cos, self.sin = graph.constant("cos", cos), graph.constant("sin", sin)

    def _norm(self, name: str, norm: Any, hidden: str, residual: str) -> tuple[str, str]:
        """Add `hidden` to `residual` (if there is one yet) and normalize; return both."""
        gamma = self.graph.constant(f"{name}.weight", _array(norm.weight))
        epsilon = float(norm.variance_epsilon)
        if not residual:
            normed = self.graph.node(
                "SimplifiedLayerNormalization",
                [hidden, gamma],
                f"{name}.out",
                axis=-1,
                epsilon=epsilon,
                stash_type=1,
            )
            return normed, hidden
        normed, _, _, total = self.graph.nodes(
            "SkipSimplifiedLayerNormalization",
            [hidden, residual, gamma],
            [f"{name}.out", "", "", f"{name}.sum"],
            domain=MICROSOFT,
            epsilon=epsilon,
        )
        return normed, total

    def _attention(self, index: int, attention: Any, x: str) -> str:
        graph, name = self.graph, f"layers.{index}.attention"
        heads = (attention.q_proj, attention.k_proj, attention.v_proj)
        packed = self._linear(f"{name}.qkv", f"layers.{index}.qkv", heads, x)
        shape = ["batch", self.config.num_key_value_heads, "past_length", self.head_dim]
        past = [
            graph.input(f"past_key_values.{index}.{part}", np.float32, shape)
            for part in ("key", "value")
        ]
        shape[2] = "present_length"
        present = [
            graph.output(f"present.{index}.{part}", np.float32, shape) for part in ("key", "value")
        ]
        context, *_ = graph.nodes(
            "GroupQueryAttention",
            [
                packed,
                "",
                "",
                *past,
                self.last_position,
                self.total,
                self.cos,
                self.sin,
                self.positions,
            ],
            [f"{name}.context", *present],
            domain=MICROSOFT,
            num_heads=self.config.num_attention_heads,
            kv_num_heads=self.config.num_key_value_heads,
            scale=float(attention.scaling),
            do_rotary=1,
        )
        unit = f"layers.{index}.out"
        return self._linear(f"{name}.out", unit, (attention.o_proj,), context)

    def _mlp(self, layer: str, mlp: Any, x: str) -> str:
        graph, name, unit = self.graph, f"{layer}.mlp", f"{layer}.gate_up"
        gate = self._linear(f"{name}.gate", unit, (mlp.gate_proj,), x)
        up = self._linear(f"{name}.up", unit, (mlp.up_proj,), x, mlp.gate_proj.out_features)
        # With alpha 1 this is silu, in one pass.
        silu = graph.node("QuickGelu", [gate], f"{name}.silu", domain=MICROSOFT, alpha=1.0)
        product = graph.node("Mul", [silu, up], f"{name}.product")
        return self._linear(f"{name}.down", f"{layer}.down", (mlp.down_proj,), product)

    def _head(self, hidden: str) -> None:
        graph = self.graph
        starts = graph.constant("last_start", np.array([-1]))
        ends = graph.constant("last_end", np.array([np.iinfo(np.int64).max]))
        last = graph.node("Slice", [hidden, starts, ends, "axis_length"], "last_hidden")
        logits = self._linear("head", "head", (self.model.lm_head,), last)
        graph.node("Identity", [logits], "logits")

    def _linear(
        self, name: str, unit: str, parts: Sequence[Any], x: str, first_row: int = 0
    ) -> str:
        """Add one linear made of `parts` stacked along their outputs.

        Args:
            name: prefix of its nodes.
            unit: of the plan.
            parts: the linears.
            x: name of the input.
            first_row: where its rows begin in the unit.
        """
        rows, rounded = sum(part.out_features for part in parts), self.plan.int4.get(unit)
        linear = Linear(
            name,
            (rows, parts[0].in_features),
            lambda: stacked(parts),
            rounded and rounded.rows(first_row, rows),
            self.table if unit == "head" else None,
        )
        precision = self.plan.precisions[unit]
        out = emit_linear(self.graph, x, linear, precision, self.group)
        if slots := [self.slots[part] for part in parts if part in self.slots]:
            out = emit_updates(self.graph, x, out, slots)
        if all(part.bias is None for part in parts):
            return out
        bias = torch.cat([_bias(part) for part in parts])
        return self.graph.node(
            "Add", [out, self.graph.constant(f"{name}.bias", _array(bias))], f"{name}.biased"
        )


def _bias(part: Any) -> Tensor:
    return part.bias if part.bias is not None else torch.zeros(part.out_features)


def _array(tensor: Any) -> Any:
    return tensor.detach().float().numpy()


def _rotary_tables(rotary: Any, positions: int) -> tuple[Any, Any]:
    """Return cosines and sines float32 [positions, head size / 2]."""
    angles = torch.outer(torch.arange(positions).float(), rotary.inv_freq.float())
    scaling = float(rotary.attention_scaling)
    return _array(angles.cos() * scaling), _array(angles.sin() * scaling)
