"""How much of an ONNX graph runs on the kernels that onnxruntime is fast at.

onnxruntime has a kernel for every operator; what tells a fast graph from a slow one is whether the
products are those of its matrix library (dense, n-bit, convolution, fused attention) and the norms
are fused. Counts as the graph stands in the file, before the runtime fuses more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import shape_inference

from hydra_mobile.bundle.kernel_coverage import OffPath, share

#: Products and attention with kernels of the runtime's matrix library.
_PRODUCTS = (
    "MatMul", "Gemm", "Conv", "MatMulNBits", "MatMulInteger", "ConvInteger",
    "DynamicQuantizeMatMul", "GroupQueryAttention", "Attention", "MultiHeadAttention",
)  # fmt: skip
#: Fused or trivial operators beside them.
_FAST = (
    *_PRODUCTS, "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization",
    "LayerNormalization", "QuickGelu", "Gelu", "Softmax", "Gather", "GatherBlockQuantized",
    "DynamicQuantizeLinear", "Add", "Mul", "Sub", "Div", "Sigmoid", "Relu", "Clip", "Cast", "Tanh",
)  # fmt: skip
_WORK_ELSEWHERE = ("Einsum", "ConvTranspose", "LSTM", "GRU", "RNN")


def summarize(path: Path, max_context: int) -> dict[str, Any]:
    """Return what one graph does on fast kernels, as JSON values.

    Args:
        path: the graph; large weights lie beside it and are not read.
        max_context: positions of a full cache, which attention is counted over.

    Returns:
        `nodes` (operators that compute; constants and shapes are not), `share_of_nodes`,
        `share_of_multiply_accumulates`, both also under the names of
        `hydra_mobile.bundle.kernel_coverage`
        (`fast_share_of_nodes`, `fast_share_of_multiply_accumulates`), a dynamic size counted as 1,
        and `most_expensive_off_path`.
    """
    model = onnx.load(path, load_external_data=False)
    shapes = _shapes(model)
    fast_nodes = nodes = fast_work = work = 0
    off_path = OffPath()
    for node in model.graph.node:
        if _is_bookkeeping(node, shapes):
            continue
        nodes += 1
        done = multiply_accumulates(node, shapes, max_context)
        work += done
        if node.op_type in _FAST:
            fast_nodes += 1
            fast_work += done
            continue
        off_path.add(node.op_type, done, math.prod(shapes.get(node.output[0], [0])))
    node_share, work_share = share(fast_nodes, nodes), share(fast_work, work)
    return {
        "nodes": nodes,
        "multiply_accumulates": work,
        "share_of_nodes": node_share,
        "share_of_multiply_accumulates": work_share,
        "fast_share_of_nodes": node_share,
        "fast_share_of_multiply_accumulates": work_share,
        "most_expensive_off_path": off_path.most_expensive(),
    }


def multiply_accumulates(node: Any, shapes: Mapping[str, list[int]], max_context: int) -> int:
    """Return the multiply-accumulates of one node; 0 for what is no product.

    A product of an unknown operator that sums (Einsum, transposed convolution) is counted by its
    output times the largest input dimension: an estimate that is never too small to be noticed.
    """
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    out = math.prod(shapes.get(node.output[0], [0]))
    kind = node.op_type
    if kind == "MatMulNBits":
        # Its own shape is not inferred by the standard's rules: the rows are those of its input.
        rows = math.prod(shapes.get(node.input[0], [1])[:-1])
        return rows * int(attributes["K"]) * int(attributes["N"])
    if kind == "GroupQueryAttention":
        # Scores and their product with the values, over a full cache.
        return 2 * _attention_width(node, attributes, shapes) * max_context
    if kind in ("MatMul", "Gemm", "MatMulInteger", "DynamicQuantizeMatMul"):
        left = shapes.get(node.input[0], [0])
        return out * left[0 if attributes.get("transA") else -1]
    if kind in ("Conv", "ConvInteger"):
        return out * math.prod(shapes.get(node.input[1], [0])[1:])
    if kind in _WORK_ELSEWHERE:
        sizes = [size for name in node.input for size in shapes.get(name, [])]
        return out * max(sizes, default=1)
    return 0


def _attention_width(
    node: Any, attributes: Mapping[str, Any], shapes: Mapping[str, list[int]]
) -> int:
    """Return heads times head size of a GroupQueryAttention."""
    width = shapes.get(node.input[0], [0])[-1]
    if len(node.input) > 1 and node.input[1]:
        return width
    # Packed: queries, keys and values side by side.
    heads, kv_heads = int(attributes["num_heads"]), int(attributes["kv_num_heads"])
    return width * heads // (heads + 2 * kv_heads)


def _shapes(model: Any) -> dict[str, list[int]]:
    """Return the shape of every known value; a dynamic size counts as 1, as in decoding."""
    graph = shape_inference.infer_shapes(model).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [dim.dim_value or 1 for dim in dims]
    return _propagated(graph, shapes)


def _propagated(graph: Any, shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """Add the shapes behind operators that the standard's inference does not know."""
    for node in graph.node:
        if not node.output or node.output[0] in shapes:
            continue
        source = next((shapes[name] for name in node.input if name in shapes), None)
        # Of a scalar beside an input of unknown shape nothing follows.
        if not source:
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        shape = list(source)
        if node.op_type == "MatMulNBits":
            shape[-1] = int(attributes["N"])
        elif node.op_type == "MatMul" and node.input[1] in shapes:
            shape[-1] = shapes[node.input[1]][-1]
        elif node.op_type == "GroupQueryAttention":
            shape[-1] = _attention_width(node, attributes, shapes)
        for name in node.output:
            if name:
                shapes[name] = shape
    return shapes


def _is_bookkeeping(node: Any, shapes: Mapping[str, list[int]]) -> bool:
    """Whether a node moves only names, sizes and constants around."""
    if node.op_type in ("Constant", "Shape", "Identity", "Reshape", "Squeeze", "Unsqueeze"):
        return True
    return math.prod(shapes.get(node.output[0], [0])) <= 1
