"""Linear layers in ONNX: fp32, fp16, and 4 or 8 bits with activations quantized at run time.

In a decoder the last two are MatMulNBits, whose activations share a scale by group. One scale for
all of them, as DynamicQuantizeLinear has it, is lost on a language model: a few channels are a
hundred times larger than the rest. In vision parts it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hydra_export.targets.onnx.graph_writer import MICROSOFT, Graph, Stored
from hydra_mobile.adapters.int4_grid import Int4Weight, in_parts, round_nearest
from hydra_mobile.bundle.presets import Precision

StoredInt4 = tuple[Stored, Stored]
"""Codes and float16 scales of a 4-bit weight that another graph has stored."""


@dataclass(frozen=True)
class Linear:
    """A linear layer to write.

    Attributes:
        name: prefix of its nodes and weights, unique in the graph.
        shape: (out features, in features).
        weight: makes the weight [out, in] in fp32; called when it is needed, so that only one layer
            at a time is held in a second form.
        int4: the weight at 4 bits where it was rounded with care already (`rounding`).
        stored: `int4` in another graph's file; it is not written again.
    """

    name: str
    shape: tuple[int, int]
    weight: Callable[[], Tensor]
    int4: Int4Weight | None = None
    stored: StoredInt4 | None = None


@dataclass(frozen=True)
class AdapterSlot:
    """A linear whose low-rank update is an input of the graph.

    Attributes:
        name: full name of the module, as in the model that is trained.
        shape: (out features, in features).
    """

    name: str
    shape: tuple[int, int]

    @property
    def inputs(self) -> tuple[str, str]:
        """Names of the inputs A [in, rank] and B [rank, out]."""
        return f"{self.name}.lora_A", f"{self.name}.lora_B"


def emit_linear(graph: Graph, x: str, linear: Linear, precision: Precision, group: int) -> str:
    """Add `x @ weight.T` and return the name of the result [..., out].

    Args:
        graph: the graph to add to.
        x: name of a float tensor [..., in].
        linear: the layer.
        precision: "fp32", "fp16", "w8a8" or "w4a8".
        group: values that share one scale; a power of two from 16.
    """
    if precision == "w4a8":
        return _emit_int4(graph, x, linear, group)
    if precision == "w8a8":
        return _emit_int8(graph, x, linear, group)
    out_features, in_features = linear.shape
    half = precision == "fp16"
    weight = graph.weight(
        f"{linear.name}.weight",
        np.float16 if half else np.float32,
        (in_features, out_features),
        lambda: linear.weight().to(torch.float16 if half else torch.float32).T.numpy(),
    )
    if half:
        weight = widen(graph, weight)
    return graph.node("MatMul", [x, weight], f"{linear.name}.out")


def emit_updates(graph: Graph, x: str, base: str, slots: Sequence[AdapterSlot]) -> str:
    """Add `base + x @ A @ B` of linears that stand side by side; return the name of the sum.

    A and B of each slot are inputs of a rank of its own. Their default has rank 0, so that a module
    without an adapter, and a program without one, costs two empty products. Products one by one are
    as fast as one with a block-diagonal B, which would hold and read the zeros between the blocks.

    Args:
        graph: the graph to add to.
        x: name of the linears' input, float [..., in].
        base: name of their output, float [..., sum of out].
        slots: in the order of the outputs.
    """
    updates = []
    for slot in slots:
        (a, b), (out_features, in_features) = slot.inputs, slot.shape
        rank = f"{slot.name}.rank"
        # A weight that has the name of an input is that input's default.
        graph.input(a, np.float32, [in_features, rank])
        graph.constant(a, np.zeros((in_features, 0), np.float32))
        graph.input(b, np.float32, [rank, out_features])
        graph.constant(b, np.zeros((0, out_features), np.float32))
        inner = graph.node("MatMul", [x, a], f"{slot.name}.inner")
        updates.append(graph.node("MatMul", [inner, b], f"{slot.name}.update"))
    whole = updates[0]
    if len(updates) > 1:
        whole = graph.node("Concat", updates, f"{base}.updates", axis=-1)
    return graph.node("Add", [base, whole], f"{base}.adapted")


def widen(graph: Graph, weight: str) -> str:
    """Add the step from a stored float16 weight to float32; return its name.

    onnxruntime computes it once, when it loads the graph: the file is half as large, the speed is
    that of float32.
    """
    return graph.node("Cast", [weight], f"{weight}.float32", to=1)


def _emit_int4(graph: Graph, x: str, linear: Linear, group: int) -> str:
    names = f"{linear.name}.weight_int4", f"{linear.name}.scales"
    if linear.stored:
        out_features, in_features = linear.shape
        folded = (out_features, in_features // group, group // 2)
        for name, weight, shape in zip(names, linear.stored, (folded, folded[:2]), strict=True):
            graph.borrow(name, weight, shape)
    else:
        rounded = linear.int4 or round_nearest(_padded(linear.weight(), group), group)
        graph.constant(names[0], matmul_nbits(rounded))
        graph.constant(names[1], rounded.scales.to(torch.float16).numpy())
    return _emit_groups(graph, x, linear, [names[0], widen(graph, names[1])], 4, group)


def _emit_int8(graph: Graph, x: str, linear: Linear, group: int) -> str:
    out_features, in_features = linear.shape
    groups = -(-in_features // group)

    # Rounded twice, when each is written: a model's codes together would be as large as it is.
    def codes() -> NDArray[np.uint8]:
        return quantize_int8_groups(linear.weight(), group)[0]

    def scales() -> NDArray[np.float32]:
        return quantize_int8_groups(linear.weight(), group)[1]

    shape = (out_features, groups)
    weights = [
        graph.weight(f"{linear.name}.weight_int8", np.uint8, (*shape, group), codes),
        graph.weight(f"{linear.name}.scales", np.float32, shape, scales),
    ]
    return _emit_groups(graph, x, linear, weights, 8, group)


def _emit_groups(
    graph: Graph, x: str, linear: Linear, weights: list[str], bits: int, group: int
) -> str:
    out_features, in_features = linear.shape
    return graph.node(
        "MatMulNBits",
        [x, *weights],
        f"{linear.name}.out",
        domain=MICROSOFT,
        K=in_features,
        N=out_features,
        bits=bits,
        block_size=group,
        # Activations in int8: without it the kernel computes in fp32, which is slower.
        accuracy_level=4,
    )


def emit_int8_matmul(graph: Graph, x: str, name: str, weight: str, scale: str, output: str) -> str:
    """Add an integer product of `x`, quantized as it comes, with an int8 weight [in, out].

    onnxruntime fuses the chain into one DynamicQuantizeMatMul when it loads the graph.
    """
    quantized, x_scale, x_zero = graph.nodes(
        "DynamicQuantizeLinear", [x], [f"{name}.x_uint8", f"{name}.x_scale", f"{name}.x_zero"]
    )
    product = graph.node("MatMulInteger", [quantized, weight, x_zero], f"{name}.product_int32")
    product = graph.node("Cast", [product], f"{name}.product", to=1)
    both = graph.node("Mul", [x_scale, scale], f"{name}.scale")
    return graph.node("Mul", [product, both], output)


def matmul_nbits(rounded: Int4Weight) -> NDArray[np.uint8]:
    """Return codes as MatMulNBits stores them without zero points: 8 means zero.

    Returns:
        uint8 [out, groups, group / 2], a view; the even code of a pair in the low half.
    """
    pairs: NDArray[np.uint8] = rounded.pairs.reshape(
        len(rounded.pairs), -1, rounded.group // 2
    ).numpy()
    return pairs


def _padded(weight: Tensor, group: int) -> Tensor:
    """Return a weight [out, in] with zeros behind its inputs up to a whole number of groups."""
    return torch.nn.functional.pad(weight.float(), (0, -weight.shape[1] % group))


def quantize_int8_groups(
    weight: Tensor, group: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round a weight [out, in] to 8 bits with a scale for each `group` inputs, zero at code 128.

    Returns:
        Codes [out, groups, group] and scales [out, groups].
    """
    codes, scales = [], []
    for part in in_parts(weight):
        blocks = _padded(part, group).reshape(len(part), -1, group)
        scale = (blocks.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-10)
        codes.append(((blocks / scale).round_().clamp_(-127, 127) + 128).to(torch.uint8))
        scales.append(scale.squeeze(-1))
    return torch.cat(codes).numpy(), torch.cat(scales).numpy()


def quantize_int8(weight: Tensor) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize a weight [out, in] to int8 with one scale for each row, symmetric around zero."""
    codes, scales = [], []
    for part in in_parts(weight):
        scale = (part.float().abs().amax(-1) / 127).clamp(min=1e-10)
        codes.append((part.float() / scale[:, None]).round_().clamp_(-127, 127).to(torch.int8))
        scales.append(scale)
    return torch.cat(codes).numpy(), torch.cat(scales).numpy()
