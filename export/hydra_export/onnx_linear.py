"""Linear layers in ONNX: fp32, and 4 or 8 bits with activations quantised at run time.

In a decoder both are MatMulNBits, whose activations share a scale by group. One scale for all of
them, as DynamicQuantizeLinear has it, is lost on a language model: a few channels are a hundred
times larger than the rest. In vision parts it serves.

Knows weights as float tensors [out, in]; knows no model. Called by the graphs of the ONNX target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hydra_export.onnx_graph import MICROSOFT, Graph
from hydra_export.presets import Precision


@dataclass(frozen=True)
class Int4:
    """A weight [out, in] at 4 bits as MatMulNBits stores it: value = scale * (code - zero point).

    Attributes:
        values: uint8 [out, groups, group / 2]; the even code of a pair in the low half.
        scales: float32 [out, groups].
        zero_points: uint8 [out, ceil(groups / 2)], packed like the values.
    """

    values: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.uint8]


@dataclass(frozen=True)
class Linear:
    """A linear layer to write.

    Attributes:
        name: prefix of its nodes and weights, unique in the graph.
        shape: (out features, in features).
        weight: makes the weight [out, in] in fp32; called when it is needed, so that only one layer
            at a time is held in a second form.
        int4: the weight at 4 bits where it was rounded with care already (`onnx_rounding`).
    """

    name: str
    shape: tuple[int, int]
    weight: Callable[[], Tensor]
    int4: Int4 | None = None


def emit_linear(graph: Graph, x: str, linear: Linear, precision: Precision, group: int) -> str:
    """Add `x @ weight.T` and return the name of the result [..., out].

    Args:
        graph: the graph to add to.
        x: name of a float tensor [..., in].
        linear: the layer.
        precision: "fp32", "w8a8" or "w4a8".
        group: values that share one scale; a power of two from 16.
    """
    if precision == "w4a8":
        return _emit_int4(graph, x, linear, group)
    if precision == "w8a8":
        return _emit_int8(graph, x, linear, group)
    out_features, in_features = linear.shape
    weight = graph.weight(
        f"{linear.name}.weight",
        np.float32,
        (in_features, out_features),
        lambda: linear.weight().float().T.contiguous().numpy(),
    )
    return graph.node("MatMul", [x, weight], f"{linear.name}.out")


def _emit_int4(graph: Graph, x: str, linear: Linear, group: int) -> str:
    packed = linear.int4 or quantize_int4(linear.weight(), group)
    weights = [
        graph.constant(f"{linear.name}.weight_int4", packed.values),
        graph.constant(f"{linear.name}.scales", packed.scales),
        graph.constant(f"{linear.name}.zero_points", packed.zero_points),
    ]
    return _emit_groups(graph, x, linear, weights, 4, group)


def _emit_int8(graph: Graph, x: str, linear: Linear, group: int) -> str:
    values, scales = quantize_int8_groups(linear.weight(), group)
    weights = [
        graph.constant(f"{linear.name}.weight_int8", values),
        graph.constant(f"{linear.name}.scales", scales),
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
    """Add an integer product of `x`, quantised as it comes, with an int8 weight [in, out].

    onnxruntime fuses the chain into one DynamicQuantizeMatMul when it loads the graph.
    """
    quantized, x_scale, x_zero = graph.nodes(
        "DynamicQuantizeLinear", [x], [f"{name}.x_uint8", f"{name}.x_scale", f"{name}.x_zero"]
    )
    product = graph.node("MatMulInteger", [quantized, weight, x_zero], f"{name}.product_int32")
    product = graph.node("Cast", [product], f"{name}.product", to=1)
    both = graph.node("Mul", [x_scale, scale], f"{name}.scale")
    return graph.node("Mul", [product, both], output)


def quantize_int4(weight: Tensor, group: int) -> Int4:
    """Round a weight [out, in] to 4 bits with a scale and a zero point for each `group` inputs.

    Inputs that do not fill the last group are padded with zeros.
    """
    out_features, in_features = weight.shape
    groups = -(-in_features // group)
    padded = torch.nn.functional.pad(weight.float(), (0, groups * group - in_features))
    blocks = padded.reshape(out_features, groups, group)
    scale, zero = int4_grid(blocks)
    codes = (blocks / scale[..., None] + zero[..., None]).round_().clamp_(0, 15)
    return pack_int4(codes, scale, zero)


def int4_grid(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and zero point [...] that cover the values and zero of blocks [..., group]."""
    low, high = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
    scale = ((high - low) / 15).clamp(min=1e-10)
    return scale, (-low / scale).round().clamp(0, 15)


def pack_int4(codes: Tensor, scale: Tensor, zero: Tensor) -> Int4:
    """Pack codes [out, groups, group], scales and zero points [out, groups]."""
    return Int4(_pack(codes), scale.contiguous().numpy(), _pack(zero))


def _pack(codes: Tensor) -> NDArray[np.uint8]:
    """Pack pairs of codes along the last axis into bytes."""
    whole = torch.nn.functional.pad(codes, (0, codes.shape[-1] % 2)).to(torch.uint8)
    return (whole[..., 0::2] | (whole[..., 1::2] << 4)).contiguous().numpy()


def quantize_int8_groups(
    weight: Tensor, group: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round a weight [out, in] to 8 bits with a scale for each `group` inputs, zero at code 128.

    Returns:
        Codes [out, groups, group] and scales [out, groups].
    """
    out_features, in_features = weight.shape
    groups = -(-in_features // group)
    padded = torch.nn.functional.pad(weight.float(), (0, groups * group - in_features))
    blocks = padded.reshape(out_features, groups, group)
    scale = (blocks.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-10)
    codes = (blocks / scale).round_().clamp_(-127, 127) + 128
    return codes.to(torch.uint8).numpy(), scale.squeeze(-1).numpy()


def quantize_int8(weight: Tensor) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise a weight [out, in] to int8 with one scale for each row, symmetric around zero."""
    scale = (weight.float().abs().amax(-1) / 127).clamp(min=1e-10)
    values = (weight.float() / scale[:, None]).round().clamp(-127, 127)
    return values.to(torch.int8).numpy(), scale.numpy()
