"""A decoder in ONNX traced from transformers' own text model, for layers that are no Llama's.

Its contract is that of the decoder written by hand, with states beside keys and values: every state
is [1, heads, slots, size], comes in as `past_key_values.NAME` and goes out as `present.NAME`, and a
host binds both to one buffer of `max_context` slots. There is no fused attention in it, so it is
slower than a graph written by hand.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from hydra_export.quantization.plan import QuantizationPlan
from hydra_export.targets.onnx.encoders import (
    export_quietly,
    forget_origins,
    linear_weight,
    replace_nodes,
    save_graph,
    scopes_of,
)
from hydra_export.targets.onnx.graph_writer import MICROSOFT, Graph
from hydra_export.targets.onnx.linear import Linear, StoredInt4, emit_linear
from hydra_export.targets.onnx.stored_smaller import store_in_half
from hydra_mobile.models.rows import SlotCache


class _RowDecoder(nn.Module):
    """Rows and the states of all slots in; logits of the last row and the states out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text, self.head = model.language_model.model, model.language_model.lm_head
        self.reader = model.row_text
        self.names = list(self.reader.shapes())

    def forward(
        self,
        inputs_embeds: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        states: list[Tensor],
    ) -> tuple[Tensor, ...]:
        """Map rows [1, S, width], ones [1, total], slots [1, S] and states to logits and states."""
        buffers = dict(zip(self.names, states, strict=True))
        cache = SlotCache(self.reader.layers, buffers, self.reader.kernel)
        cache.at(position_ids[0], attention_mask.shape[1])
        logits: Tensor = self.head(self.reader(inputs_embeds, cache)[:, -1:])
        return (logits, *(cache.buffers[name] for name in self.names))


def write_traced_decoder(
    model: Any,
    plan: QuantizationPlan,
    max_context: int,
    group: int,
    path: Path,
    table: StoredInt4 | None = None,
) -> list[Path]:
    """Write the decoder of any text model.

    Args:
        model: the whole vision-language model; left as it was.
        plan: precision of each linear, by the names of `gptq.single_units`.
        max_context: slots of every state.
        group: inputs that share a scale.
        path: of the graph.
        table: as for `decoder.decoder_graph`.

    Returns:
        The files written.
    """
    decoder = _RowDecoder(model).eval()
    config = decoder.text.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        graph = _traced(decoder, model.row_width, max_context)
    finally:
        config._attn_implementation = before
    _set_precisions(graph.graph, plan, group, table)
    if any(value == "fp16" for value in plan.precisions.values()):
        store_in_half(graph.graph)
    if not any(entry.domain == MICROSOFT for entry in graph.opset_import):
        graph.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
    forget_origins(graph)
    return save_graph(graph, path)


def _traced(decoder: _RowDecoder, width: int, max_context: int) -> Any:
    shapes = decoder.reader.shapes()
    states = [torch.zeros(1, heads, max_context, size) for heads, size in shapes.values()]
    arguments = {
        "inputs_embeds": torch.zeros(1, 3, width),
        "attention_mask": torch.ones(1, 7, dtype=torch.long),
        "position_ids": torch.arange(4, 7)[None],
        "states": states,
    }
    length = torch.export.Dim("length", min=1, max=max_context)
    total = torch.export.Dim("total_length", min=1, max=max_context)
    dynamic = {
        "inputs_embeds": {1: length},
        "attention_mask": {1: total},
        "position_ids": {1: length},
        "states": [None] * len(states),
    }
    names = ["inputs_embeds", "attention_mask", "position_ids"]
    return export_quietly(
        decoder,
        arguments,
        [*names, *(f"past_key_values.{name}" for name in shapes)],
        dynamic,
        ["logits", *(f"present.{name}" for name in shapes)],
    )


def _same(weight: Tensor) -> Tensor:
    return weight


def _set_precisions(
    graph: Any, plan: QuantizationPlan, group: int, table: StoredInt4 | None
) -> None:
    """Rewrite the linears of the plan, in place; those of fp32 and fp16 stay products."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[Any] = []
    extra = Graph("rewritten")
    for node in graph.node:
        unit = next((name for name in reversed(scopes_of(node)) if name in plan.precisions), "")
        weight = linear_weight(node, weights)
        precision = plan.precisions.get(unit, "fp32")
        if weight is None or precision not in ("w8a8", "w4a8"):
            nodes.append(node)
            continue
        shape = (int(weight.shape[0]), int(weight.shape[1]))
        stored = table if unit == "head" else None
        linear = Linear(unit, shape, partial(_same, weight), plan.int4.get(unit), stored)
        found = emit_linear(extra, node.input[0], linear, precision, group)
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias:
            extra.node("Add", [found, bias], node.output[0])
        else:
            extra.node("Identity", [found], node.output[0])
        nodes += extra.take_nodes()
    replace_nodes(graph, nodes, extra)
