"""The vision encoder and the token embedding in ONNX.

The vision tower and the projector are whatever modules a model has, so they are traced by torch's
exporter; their linears are then rewritten to 8 bits where the preset says so. The embedding is
written by hand.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.func import functional_call

from hydra_export.targets.onnx.graph_writer import (
    LEAST_EXTERNAL,
    MICROSOFT,
    OPSET,
    Graph,
    data_file,
)
from hydra_export.targets.onnx.linear import emit_int8_matmul, quantize_int8, widen
from hydra_export.targets.onnx.stored_smaller import (
    copied,
    store_in_half,
    store_pointwise_in_bytes,
)
from hydra_mobile.adapters.int4_grid import Int4Weight, round_nearest
from hydra_mobile.bundle.presets import Precision, Preset
from hydra_mobile.core.quiet import errors_only
from hydra_mobile.models.rows import RowLayout

# Where torch's exporter notes the path of the module that a node came from.
_SCOPES = "pkg.torch.onnx.name_scopes"
_TABLE_GROUP = 32
#: Names of a 4-bit table's weights.
TABLE_CODES, TABLE_SCALES = "table_int4", "scales"
# The projector's place in the whole model, which adapters are trained on.
_PROJECTOR = "projector."


def embedding_graph(
    table: Tensor,
    precision: Precision,
    rounded: Int4Weight | None = None,
    *,
    layout: RowLayout | None = None,
    scale: float = 1.0,
) -> Graph:
    """Return the graph `input_ids` int64 [batch, n] -> `inputs_embeds` float [batch, n, hidden].

    Args:
        table: float [vocabulary, hidden].
        precision: "fp32", "fp16" or "w4"; anything else stores int8 rows, each with a scale.
        rounded: the table at 4 bits, for "w4".
        layout: of rows; None: rows are embeddings.
        scale: what rows of the table are multiplied by.
    """
    hidden = table.shape[1]
    graph = Graph("embed_tokens")
    ids = graph.input("input_ids", np.int64, ["batch", "length"])
    width = layout.width if layout else hidden
    graph.output("inputs_embeds", np.float32, ["batch", "length", width])
    whole = scale == 1.0 and width == hidden
    _emit_lookup(graph, ids, table, precision, rounded, "inputs_embeds" if whole else "embedded")
    if not whole:
        factor = graph.constant("table_factor", np.array([scale], np.float32))
        scaled = graph.node("Mul", ["embedded", factor], "scaled")
        row = np.zeros(width, np.float32)
        if layout:
            row[layout.embedded :] = layout.token_columns().numpy()
        pads = graph.constant("row_pads", np.array([0, 0, 0, 0, 0, width - hidden], np.int64))
        wide = graph.node("Pad", [scaled, pads], "padded")
        graph.node("Add", [wide, graph.constant("row_constants", row)], "inputs_embeds")
    return graph


def _emit_lookup(
    graph: Graph,
    ids: str,
    table: Tensor,
    precision: Precision,
    rounded: Int4Weight | None,
    output: str,
) -> None:
    rows, hidden = table.shape
    if precision == "fp32":
        weight = graph.weight("table", np.float32, (rows, hidden), lambda: table.float().numpy())
        graph.node("Gather", [weight, ids], output)
        return
    if precision == "fp16":
        weight = graph.weight("table", np.float16, (rows, hidden), lambda: table.half().numpy())
        chosen = graph.node("Gather", [weight, ids], "chosen_half")
        graph.node("Cast", [chosen], output, to=1)
        return
    if precision == "w4":
        rounded = rounded or round_nearest(table, _TABLE_GROUP)
        halves = rounded.scales.to(torch.float16).numpy()
        graph.node(
            "GatherBlockQuantized",
            [
                graph.constant(TABLE_CODES, rounded.pairs.numpy()),
                ids,
                widen(graph, graph.constant(TABLE_SCALES, halves)),
            ],
            output,
            domain=MICROSOFT,
            bits=4,
            block_size=rounded.group,
            gather_axis=0,
            quantize_axis=1,
        )
        return
    values, scales = quantize_int8(table)
    chosen = graph.node("Gather", [graph.constant("table_int8", values), ids], "chosen_int8")
    scale = graph.node("Gather", [graph.constant("scales", scales[:, None]), ids], "chosen_scale")
    chosen = graph.node("Cast", [chosen], "chosen", to=1)
    graph.node("Mul", [chosen, scale], output)


class _VisionEncoder(nn.Module):
    """Pixels to image embeddings, with the two parts as children: their names mark the nodes."""

    def __init__(
        self, tower: nn.Module, projector: nn.Module, rows: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.vision_tower = tower
        self.projector = projector
        self.rows = rows

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map [B, 3, H, W] to [B, N, width]."""
        features = self.vision_tower(pixel_values)
        embeddings: Tensor = (
            self.projector(features) if self.rows is None else self.rows(self.projector, features)
        )
        return embeddings


class _OpenVisionEncoder(nn.Module):
    """The same with the projector's weights as inputs; those that it holds are not looked at."""

    def __init__(self, tower: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.vision_tower = tower
        # In a tuple it is no child, so that its weights do not become weights of the program.
        self._projector = (projector,)

    def forward(self, pixel_values: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """Map [B, 3, H, W] to [B, N, hidden] with the tensors of a projector's state."""
        features = self.vision_tower(pixel_values)
        embeddings: Tensor = functional_call(self._projector[0], weights, (features,))
        return embeddings


def projector_tensors(projector: nn.Module) -> dict[str, Tensor]:
    """Return a projector's floating-point state under its names in the whole model."""
    return {
        f"{_PROJECTOR}{name}": tensor.detach()
        for name, tensor in projector.state_dict().items()
        if tensor.is_floating_point()
    }


def write_vision_encoder(
    tower: nn.Module,
    projector: nn.Module,
    image_size: int,
    preset: Preset,
    path: Path,
    *,
    projector_inputs: bool = False,
    rows: nn.Module | None = None,
) -> tuple[list[Path], dict[str, int]]:
    """Write `pixel_values` float [batch, 3, S, S] -> `image_features` float [batch, N, hidden].

    Args:
        tower: the vision tower.
        projector: from its features to embeddings.
        image_size: S.
        preset: precision of both.
        path: of the graph.
        projector_inputs: make every tensor of `projector_tensors` an input, whose default is that
            tensor; fp16 unless the preset's projector is fp32.
        rows: what calls the projector, where a picture's rows are more than embeddings; the batch
            is then one.

    Returns:
        The files written, and how many operators with weights have each form:
        `{"linear_int8": n, "linear_fp32": n, "conv_fp32": n}`.
    """
    if rows is None:
        model = _traced(tower, projector, image_size, projector_inputs)
    else:
        pixels = {"pixel_values": torch.zeros(1, 3, image_size, image_size)}
        encoder = _VisionEncoder(tower, projector, rows)
        model = export_quietly(encoder, pixels, ["pixel_values"], None)
    precisions: dict[str, Precision] = {
        "vision_tower": preset.vision,
        "projector": preset.projector,
    }
    counts = _quantize_linears(model.graph, precisions)
    if preset.vision == "w8a8":
        store_pointwise_in_bytes(model.graph)
    if "fp32" not in precisions.values():
        store_in_half(model.graph)
    if projector_inputs:
        _give_defaults(model.graph, projector_tensors(projector), preset.projector != "fp32")
    if counts["linear_int8"] and not any(o.domain == MICROSOFT for o in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
    forget_origins(model)
    model.graph.name = "vision_encoder"
    return save_graph(model, path), counts


def static_encoder(tower: nn.Module, projector: nn.Module, image_size: int) -> Any:
    """Return the ModelProto of both parts in fp32, for one picture: every shape is a number."""
    pixels = {"pixel_values": torch.zeros(1, 3, image_size, image_size)}
    model = export_quietly(_VisionEncoder(tower, projector), pixels, ["pixel_values"], None)
    forget_origins(model)
    model.graph.name = "vision_encoder"
    return model


def _traced(tower: nn.Module, projector: nn.Module, image_size: int, projector_inputs: bool) -> Any:
    """Return the ModelProto of both parts, in fp32."""
    encoder: nn.Module = _VisionEncoder(tower, projector)
    # Two pictures: an example size of one would be taken for a constant.
    arguments: dict[str, Any] = {"pixel_values": torch.zeros(2, 3, image_size, image_size)}
    names = ["pixel_values"]
    shapes: dict[str, Any] = {"pixel_values": {0: torch.export.Dim("batch", min=1, max=1024)}}
    if projector_inputs:
        encoder = _OpenVisionEncoder(tower, projector)
        weights = projector_tensors(projector)
        names += weights
        weights = {name.removeprefix(_PROJECTOR): tensor for name, tensor in weights.items()}
        arguments["weights"] = weights
        shapes["weights"] = dict.fromkeys(weights)
    return export_quietly(encoder, arguments, names, shapes)


def export_quietly(
    encoder: nn.Module,
    arguments: dict[str, Any],
    names: list[str],
    shapes: dict[str, Any] | None,
    outputs: Sequence[str] = ("image_features",),
) -> Any:
    """Return the ModelProto of a module that torch's exporter traces.

    Args:
        encoder: the module.
        arguments: sample values of its keyword arguments.
        names: of the graph's inputs.
        shapes: dynamic shapes of the arguments; None: all are numbers.
        outputs: names of the graph's outputs.
    """
    # The exporter's progress and its dependencies' deprecations are not for the terminal.
    with errors_only("torch.onnx"), warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(
            encoder.eval(),
            kwargs=arguments,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=names,
            output_names=list(outputs),
            dynamic_shapes=shapes,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model_proto


def _give_defaults(graph: Any, tensors: dict[str, Tensor], half: bool) -> None:
    """Make inputs optional: `tensors` become their defaults, in fp16 where `half`."""
    inputs = {value.name: value for value in graph.input}
    casts = Graph("casts")
    for name, tensor in tensors.items():
        array = tensor.float().numpy()
        if half:
            inputs[name].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
            array = array.astype(np.float16)
            wide = widen(casts, name)
            for node in graph.node:
                node.input[:] = [wide if value == name else value for value in node.input]
        graph.initializer.append(numpy_helper.from_array(array, name))
    nodes = casts.take_nodes() + [copied(node) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _quantize_linears(graph: Any, precisions: dict[str, Precision]) -> dict[str, int]:
    """Rewrite products with a constant weight to 8 bits, in place; return counts of operators."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    counts = {"linear_int8": 0, "linear_fp32": 0, "conv_fp32": 0}
    nodes: list[Any] = []
    extra = Graph("rewritten")
    for node in graph.node:
        part = _part_of(node, precisions)
        weight = linear_weight(node, weights)
        if weight is None or precisions.get(part, "fp32") in ("fp32", "fp16"):
            counts["linear_fp32"] += weight is not None
            counts["conv_fp32"] += node.op_type == "Conv"
            nodes.append(node)
            continue
        counts["linear_int8"] += 1
        values, scales = quantize_int8(weight)
        name = node.output[0]
        bias = node.input[2] if len(node.input) > 2 else ""
        emit_int8_matmul(
            extra,
            node.input[0],
            name,
            extra.constant(f"{name}.weight_int8", np.ascontiguousarray(values.T)),
            extra.constant(f"{name}.scales", scales),
            f"{name}.unbiased" if bias else name,
        )
        if bias:
            extra.node("Add", [f"{name}.unbiased", bias], name)
        nodes += extra.take_nodes()
    replace_nodes(graph, nodes, extra)
    return counts


def _part_of(node: Any, parts: dict[str, Precision]) -> str:
    scopes = " ".join(scopes_of(node))
    return next((part for part in parts if part in scopes), "")


def scopes_of(node: Any) -> list[str]:
    """Return the paths of the modules that a traced node came from, outermost first."""
    text = next((p.value for p in node.metadata_props if p.key == _SCOPES), "[]")
    found: list[str] = ast.literal_eval(text)
    return found


def linear_weight(node: Any, weights: dict[str, Any]) -> Tensor | None:
    """Return the weight [out, in] of a MatMul or Gemm with a constant matrix, else None."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in weights:
        return None
    matrix = torch.from_numpy(numpy_helper.to_array(weights[node.input[1]]).copy())
    if matrix.dim() != 2:
        return None
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return matrix if transposed else matrix.T


def replace_nodes(graph: Any, nodes: list[Any], extra: Graph) -> None:
    """Put `nodes` into the graph with the weights of `extra`; drop weights without a reader."""
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    # Protobuf containers own their items: make copies before the containers are emptied.
    nodes = [copied(node) for node in nodes]
    kept = [copied(tensor) for tensor in kept] + extra.inline_tensors()
    del graph.node[:]
    del graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def forget_origins(model: Any) -> None:
    """Drop the exporter's notes: stack traces that name folders of the machine it ran on."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    # Types of values between nodes are derived again on loading; those of replaced nodes are gone.
    del model.graph.value_info[:]
    for message in (*model.graph.node, *model.graph.input, *model.graph.output):
        del message.metadata_props[:]
        message.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]


def save_graph(model: Any, path: Path) -> list[Path]:
    """Write a graph with large weights beside it; return the files."""
    data = data_file(path)
    data.unlink(missing_ok=True)
    onnx.save_model(
        model,
        path,
        save_as_external_data=True,
        location=data.name,
        size_threshold=LEAST_EXTERNAL,
    )
    return [path, data] if data.exists() else [path]
