"""What each operator of an ML program computes, in torch.

Values of 16 bits are held as float32 and rounded by the interpreter after each operator, so sums
inside of an operator are taken in float32; Apple's engines may sum in fewer bits. Integers are held
as int64, and the interpreter checks that they fit the type that the program gives them.

An operator is here because a program that we export has it, or a near relative of one that has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_mobile.core.errors import HydraError

#: Arguments by name: a tensor, a string, or a list of tensors where the operator takes several.
Arguments = dict[str, Any]


def _ints(value: Tensor) -> list[int]:
    return [int(number) for number in value.reshape(-1).tolist()]


def _int(value: Tensor) -> int:
    return int(value.item())


def _flag(arguments: Arguments, name: str) -> bool:
    value = arguments.get(name)
    return False if value is None else bool(value.item())


def _only(arguments: Arguments, name: str, expected: Any, kind: str) -> None:
    """Raise unless an argument that is not implemented has its neutral value."""
    value = arguments.get(name, expected)
    found = value if isinstance(value, str) else value.tolist() if torch.is_tensor(value) else value
    if found != expected:
        raise HydraError(
            f"Operator {kind} has {name}={found}; the interpreter knows only {expected}.",
        )


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Arguments], Tensor]:
    return lambda a: function(a["x"], a["y"])


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Arguments], Tensor]:
    return lambda a: function(a["x"])


def _reduce(function: Callable[..., Tensor]) -> Callable[[Arguments], Tensor]:
    return lambda a: function(
        a["x"],
        dim=_ints(a["axes"]) if "axes" in a else list(range(a["x"].dim())),
        keepdim=_flag(a, "keep_dims"),
    )


def _linear(a: Arguments) -> Tensor:
    return F.linear(a["x"], a["weight"], a.get("bias"))


def _matmul(a: Arguments) -> Tensor:
    x = a["x"].transpose(-1, -2) if _flag(a, "transpose_x") else a["x"]
    y = a["y"].transpose(-1, -2) if _flag(a, "transpose_y") else a["y"]
    product: Tensor = x @ y
    return product


def _conv(a: Arguments) -> Tensor:
    x, weight = a["x"], a["weight"]
    if x.dim() != 4:
        raise HydraError(f"Operator conv has an input of rank {x.dim()}; 4 is known.")
    strides = _ints(a["strides"]) if "strides" in a else [1, 1]
    dilations = _ints(a["dilations"]) if "dilations" in a else [1, 1]
    kind = a.get("pad_type", "valid")
    if kind == "custom":
        top, bottom, left, right = _ints(a["pad"])
        x = F.pad(x, (left, right, top, bottom))
    elif kind != "valid":
        raise HydraError(f"Operator conv has pad_type={kind}; known are custom and valid.")
    groups = _int(a["groups"]) if "groups" in a else 1
    return F.conv2d(x, weight, a.get("bias"), strides, 0, dilations, groups)


def _average_pool(a: Arguments) -> Tensor:
    if a["pad_type"] == "custom":
        _only(a, "pad", [0, 0, 0, 0], "avg_pool")
    else:
        _only(a, "pad_type", "valid", "avg_pool")
    _only(a, "ceil_mode", False, "avg_pool")
    return F.avg_pool2d(a["x"], _ints(a["kernel_sizes"]), _ints(a["strides"]))


def _layer_norm(a: Arguments) -> Tensor:
    x, axes = a["x"], [axis % a["x"].dim() for axis in _ints(a["axes"])]
    if axes != list(range(x.dim() - len(axes), x.dim())):
        raise HydraError(f"Operator layer_norm has axes {axes}; only the last ones are known.")
    shape = [x.shape[axis] for axis in axes]
    return F.layer_norm(x, shape, a.get("gamma"), a.get("beta"), float(a["epsilon"]))


def _batch_norm(a: Arguments) -> Tensor:
    return F.batch_norm(
        a["x"], a["mean"], a["variance"], a.get("gamma"), a.get("beta"), False, 0.0,
        float(a["epsilon"]),
    )  # fmt: skip


def _gelu(a: Arguments) -> Tensor:
    modes = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}
    mode = a.get("mode", "EXACT")
    if mode not in modes:
        raise HydraError(f"Operator gelu has mode={mode}; known are {', '.join(modes)}.")
    return F.gelu(a["x"], approximate=modes[mode])


def _gather(a: Arguments) -> Tensor:
    _only(a, "batch_dims", 0, "gather")
    x, indices, axis = a["x"], a["indices"], _int(a["axis"]) if "axis" in a else 0
    size = x.shape[axis]
    if bool(((indices < -size) | (indices >= size)).any()):
        raise HydraError(f"Operator gather reads {_ints(indices)[:5]} of {size} rows.")
    indices = torch.where(indices < 0, indices + size, indices)
    rows: Tensor = x.index_select(axis, indices.reshape(-1))
    axis %= x.dim()
    return rows.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _slice_by_index(a: Arguments) -> Tensor:
    x = a["x"]
    rank = x.dim()
    begin, end = _ints(a["begin"]), _ints(a["end"])
    stride = _ints(a["stride"]) if "stride" in a else [1] * rank
    masks = {
        name: [bool(b) for b in a[name].tolist()] if name in a else [False] * rank
        for name in ("begin_mask", "end_mask", "squeeze_mask")
    }
    index: list[Any] = []
    for axis in range(rank):
        if stride[axis] < 1:
            raise HydraError("Operator slice_by_index goes backwards; that is not known.")
        if masks["squeeze_mask"][axis]:
            index.append(begin[axis])
            continue
        first = None if masks["begin_mask"][axis] else begin[axis]
        last = None if masks["end_mask"][axis] else end[axis]
        index.append(slice(first, last, stride[axis]))
    result: Tensor = x[tuple(index)]
    return result


def _concat(a: Arguments) -> Tensor:
    _only(a, "interleave", False, "concat")
    return torch.cat(a["values"], dim=_int(a["axis"]))


def _split(a: Arguments) -> tuple[Tensor, ...]:
    x, axis = a["x"], _int(a["axis"])
    if "split_sizes" in a:
        return torch.split(x, _ints(a["split_sizes"]), dim=axis)
    return torch.split(x, x.shape[axis] // _int(a["num_splits"]), dim=axis)


def _squeeze(a: Arguments) -> Tensor:
    return torch.squeeze(a["x"], tuple(_ints(a["axes"])) if "axes" in a else ())


def _expand_dims(a: Arguments) -> Tensor:
    x: Tensor = a["x"]
    rank = x.dim() + a["axes"].numel()
    for axis in sorted(axis % rank for axis in _ints(a["axes"])):
        x = x.unsqueeze(axis)
    return x


def _reshape(a: Arguments) -> Tensor:
    x: Tensor = a["x"]
    # 0 takes a size over.
    return x.reshape([size or x.shape[axis] for axis, size in enumerate(_ints(a["shape"]))])


def _epsilon(a: Arguments) -> float:
    return float(a["epsilon"]) if "epsilon" in a else 0.0


def _clip(a: Arguments) -> Tensor:
    return torch.clamp(a["x"], float(a["alpha"]), float(a["beta"]))


def _pad(a: Arguments) -> Tensor:
    _only(a, "mode", "constant", "pad")
    ends = _ints(a["pad"])
    pairs = [ends[i : i + 2] for i in range(0, len(ends), 2)]
    value = float(a["constant_val"]) if "constant_val" in a else 0.0
    return F.pad(a["x"], [number for pair in reversed(pairs) for number in pair], value=value)


def _softmax(a: Arguments) -> Tensor:
    return torch.softmax(a["x"], dim=_int(a["axis"]) if "axis" in a else -1)


#: Name of an operator -> what it computes from its arguments.
OPERATORS: dict[str, Callable[[Arguments], Tensor | tuple[Tensor, ...]]] = {
    "abs": _unary(torch.abs),
    "add": _binary(operator.add),
    "avg_pool": _average_pool,
    "batch_norm": _batch_norm,
    # The interpreter gives the result the type that the program says, which is all of a cast.
    "cast": _unary(lambda x: x),
    "clip": _clip,
    "concat": _concat,
    "conv": _conv,
    "equal": _binary(operator.eq),
    "exp": _unary(torch.exp),
    "expand_dims": _expand_dims,
    "floor_div": _binary(torch.floor_divide),
    "gather": _gather,
    "gelu": _gelu,
    "greater": _binary(operator.gt),
    "greater_equal": _binary(operator.ge),
    "identity": _unary(lambda x: x),
    "inverse": lambda a: 1.0 / (a["x"] + _epsilon(a)),
    "layer_norm": _layer_norm,
    "less": _binary(operator.lt),
    "less_equal": _binary(operator.le),
    "linear": _linear,
    "logical_and": _binary(torch.logical_and),
    "logical_not": _unary(torch.logical_not),
    "matmul": _matmul,
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "mul": _binary(operator.mul),
    "pad": _pad,
    "real_div": _binary(operator.truediv),
    "reduce_max": _reduce(torch.amax),
    "reduce_mean": _reduce(torch.mean),
    "reduce_sum": _reduce(torch.sum),
    "relu": _unary(torch.relu),
    "relu6": _unary(F.relu6),
    "reshape": _reshape,
    "rsqrt": lambda a: torch.rsqrt(a["x"] + _epsilon(a)),
    "select": lambda a: torch.where(a["cond"], a["a"], a["b"]),
    "sigmoid": _unary(torch.sigmoid),
    "sigmoid_hard": lambda a: torch.clamp(float(a["alpha"]) * a["x"] + float(a["beta"]), 0.0, 1.0),
    "silu": _unary(F.silu),
    "slice_by_index": _slice_by_index,
    "softmax": _softmax,
    "split": _split,
    "sqrt": _unary(torch.sqrt),
    "square": _unary(torch.square),
    "squeeze": _squeeze,
    "stack": lambda a: torch.stack(a["values"], dim=_int(a["axis"])),
    "sub": _binary(operator.sub),
    "tanh": _unary(torch.tanh),
    "thresholded_relu": lambda a: torch.where(a["x"] >= a["alpha"], a["x"], 0.0),
    "tile": lambda a: a["x"].repeat(_ints(a["reps"])),
    "transpose": lambda a: a["x"].permute(_ints(a["perm"])),
}
