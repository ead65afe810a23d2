"""Weights that compute in float32 but are stored smaller, and widened when a graph is loaded.

onnxruntime computes the widening once, when it loads the graph: the file is smaller, the speed and
the memory are those of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from onnx import helper, numpy_helper

from hydra_export.targets.onnx.graph_writer import Graph
from hydra_export.targets.onnx.linear import quantize_int8

# Smaller weights (biases, norms) are not worth a step of their own.
_LEAST = 1024


def store_in_half(graph: Any) -> None:
    """Store the weights that are left in float32 as float16."""
    extra = Graph("halves")
    tensors = {}
    for tensor in _large(graph, {tensor.name for tensor in graph.initializer}):
        half = f"{tensor.name}.half"
        array = numpy_helper.to_array(tensor).astype(np.float16)
        tensors[tensor.name] = [numpy_helper.from_array(array, half)]
        extra.node("Cast", [half], tensor.name, to=1)
    _replace(graph, tensors, extra)


def store_pointwise_in_bytes(graph: Any) -> None:
    """Store the weights of 1 x 1 convolutions as int8 with a scale for each output.

    They are linears of every pixel; ExecuTorch's program has them in 8 bits as well.
    """
    extra = Graph("bytes")
    tensors = {}
    read = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    for tensor in _large(graph, read):
        out_features, in_features, *kernel = tensor.dims
        if set(kernel) != {1}:
            continue
        matrix = torch.from_numpy(numpy_helper.to_array(tensor).reshape(out_features, in_features))
        values, scales = quantize_int8(matrix)
        codes, scale, wide = (f"{tensor.name}.{part}" for part in ("int8", "scale", "float32"))
        tensors[tensor.name] = [
            numpy_helper.from_array(values.reshape(tensor.dims), codes),
            numpy_helper.from_array(scales.reshape(-1, *(1 for _ in tensor.dims[1:])), scale),
        ]
        extra.node("Cast", [codes], wide, to=1)
        extra.node("Mul", [wide, scale], tensor.name)
    _replace(graph, tensors, extra)


def _large(graph: Any, names: set[str]) -> list[Any]:
    float32 = helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))
    return [
        tensor
        for tensor in graph.initializer
        if tensor.name in names
        and tensor.data_type == float32
        and np.prod(tensor.dims, dtype=int) >= _LEAST
    ]


def _replace(graph: Any, tensors: dict[str, list[Any]], widening: Graph) -> None:
    """Put tensors in place of weights, and the nodes that widen them before all others."""
    kept = [copied(tensor) for tensor in graph.initializer if tensor.name not in tensors]
    nodes = widening.take_nodes() + [copied(node) for node in graph.node]
    del graph.node[:]
    del graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    for smaller in tensors.values():
        graph.initializer.extend(smaller)


def copied(message: Any) -> Any:
    """Return a copy of a protobuf message: a container owns its items and takes them along."""
    duplicate = type(message)()
    duplicate.CopyFrom(message)
    return duplicate
