"""A small writer of ONNX files: nodes, weights that are made when they are written, and the file.

The graphs of `hydra_export.targets.onnx.decoder` and `hydra_export.targets.onnx.encoders` are built
with it node by node, because the operators that make a decoder fast (GroupQueryAttention,
MatMulNBits) have no torch counterpart to trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

#: Operators of onnxruntime that no ONNX standard has.
MICROSOFT = "com.microsoft"
#: Opset and file version that onnxruntime has read since 1.19 (2024), on phones as well.
OPSET = 21
IR_VERSION = 10
#: A file above this size keeps its weights beside it: protobuf ends at 2 GiB.
INLINE_LIMIT = 1_500_000_000
#: Numbers of protobuf fields, all below 16: their tags are one byte.
MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = 7, 5, 9
# Offsets of weights in a data file, so that the runtime can map pages instead of reading them.
_PAGE = 4096

Producer = Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class _Weight:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    produce: Producer

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def data(self) -> bytes:
        array = np.ascontiguousarray(self.produce())
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(f"{self.name}: made {array.dtype}{array.shape}, declared {self}")
        return array.tobytes()


@dataclass
class Graph:
    """One ONNX graph under construction.

    Attributes:
        name: name of the graph, and prefix of nothing.
        inline_limit: bytes of weights above which they go to a file beside the graph.
    """

    name: str
    inline_limit: int = INLINE_LIMIT
    _nodes: list[Any] = field(default_factory=list)
    _weights: list[_Weight] = field(default_factory=list)
    _inputs: list[Any] = field(default_factory=list)
    _outputs: list[Any] = field(default_factory=list)

    def input(self, name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> str:
        """Declare an input; a string in `shape` names a dynamic size."""
        self._inputs.append(_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> str:
        """Declare an output; some node must produce `name`."""
        self._outputs.append(_value_info(name, dtype, shape))
        return name

    def weight(
        self, name: str, dtype: type[np.generic], shape: Sequence[int], produce: Producer
    ) -> str:
        """Declare a weight whose array `produce` makes when the file is written."""
        self._weights.append(_Weight(name, np.dtype(dtype), tuple(shape), produce))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Store an array that exists already."""
        return self.weight(name, value.dtype.type, value.shape, lambda: value)

    def nodes(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Add a node; an empty string stands for an input or output that is left out."""
        self._nodes.append(
            helper.make_node(
                operator, inputs, outputs, name=outputs[0], domain=domain, **attributes
            )
        )
        return list(outputs)

    def node(
        self, operator: str, inputs: Sequence[str], output: str, *, domain: str = "", **attrs: Any
    ) -> str:
        """Add a node with one output and return the output's name."""
        return self.nodes(operator, inputs, [output], domain=domain, **attrs)[0]

    def save(self, path: Path) -> list[Path]:
        """Write the graph; return the files: `path`, and `<path>_data` if the weights are large.

        One weight is in memory at a time, beside those that the caller holds.
        """
        external = sum(weight.nbytes for weight in self._weights) > self.inline_limit
        data_path = path.with_name(path.name + "_data")
        tensors = self._write_data(data_path) if external else []
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, tensors)
        model = helper.make_model(
            onnx.GraphProto(),
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=IR_VERSION,
            producer_name="hydra-mobile",
        )
        model.ClearField("graph")
        with path.open("wb") as file:
            write_model(file, model, graph, [] if external else self._weights)
        return [path, data_path] if external else [path]

    def take_nodes(self) -> list[Any]:
        """Return the nodes added since the last call: for splicing into a graph made elsewhere."""
        nodes, self._nodes = self._nodes, []
        return nodes

    def inline_tensors(self) -> list[Any]:
        """Return the weights as tensors that hold their data."""
        return [_inline(weight) for weight in self._weights]

    def _write_data(self, data_path: Path) -> list[Any]:
        tensors = []
        with data_path.open("wb") as file:
            for weight in self._weights:
                if weight.nbytes < _PAGE:
                    # Shapes are derived from small constants, and only from those inside.
                    tensors.append(_inline(weight))
                    continue
                file.seek(-file.tell() % _PAGE, 1)
                tensor = _tensor(weight)
                tensor.data_location = TensorProto.EXTERNAL
                location = {"location": data_path.name, "offset": file.tell()}
                for key, value in {**location, "length": weight.nbytes}.items():
                    tensor.external_data.add(key=key, value=str(value))
                file.write(weight.data())
                tensors.append(tensor)
        return tensors


def write_model(file: BinaryIO, model: Any, graph: Any, weights: Sequence[_Weight]) -> None:
    """Write a ModelProto whose weights are made one after the other.

    A serialized message is the concatenation of its fields, in any order, so the weights can follow
    the rest of the graph without ever being in one message in memory (protobuf's encoding
    specification, "Last One Wins" and "Message Structure").

    Args:
        file: where to.
        model: the model without its graph.
        graph: the graph without `weights`.
        weights: become its initializers.
    """
    start = graph.SerializeToString()
    headers = [_tensor(weight).SerializeToString() for weight in weights]
    sizes = [
        len(header) + _field_size(weight.nbytes)
        for header, weight in zip(headers, weights, strict=True)
    ]
    file.write(model.SerializeToString())
    file.write(prefix(MODEL_GRAPH, len(start) + sum(_field_size(size) for size in sizes)))
    file.write(start)
    for weight, header, size in zip(weights, headers, sizes, strict=True):
        file.write(prefix(GRAPH_INITIALIZER, size))
        file.write(header)
        file.write(prefix(TENSOR_RAW_DATA, weight.nbytes))
        file.write(weight.data())


def prefix(field_number: int, length: int) -> bytes:
    """Return the tag and the length that stand before a length-delimited field."""
    out = bytearray([field_number << 3 | 2])
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out)


def _field_size(length: int) -> int:
    """Return the bytes of a length-delimited field, its prefix included."""
    return len(prefix(1, length)) + length


def _value_info(name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> Any:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, element, list(shape))


def _tensor(weight: _Weight) -> Any:
    tensor = onnx.TensorProto(name=weight.name, dims=weight.shape)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(weight.dtype)
    return tensor


def _inline(weight: _Weight) -> Any:
    tensor = _tensor(weight)
    tensor.raw_data = weight.data()
    return tensor
