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
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

#: Operators of onnxruntime that no ONNX standard has.
MICROSOFT = "com.microsoft"
#: Opset and file version that onnxruntime has read since 1.19 (2024), on phones as well.
OPSET = 21
IR_VERSION = 10
#: Weights below this size stay in the graph: shapes are derived from small constants, and only from
#: those inside.
LEAST_EXTERNAL = 4096
# Offsets of weights in a data file, so that the runtime can map pages instead of reading them.
_PAGE = 4096

Producer = Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Stored:
    """A weight in the data file of a graph that was saved.

    Attributes:
        file: name of the data file; graphs that read it lie in the same folder.
        offset: of the first byte.
        dtype: of the weight.
        shape: of the weight as the graph that wrote it reads it.
    """

    file: str
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the weight."""
        return math.prod(self.shape) * self.dtype.itemsize


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
        stored: where each large weight lies, by name, once the graph is saved.
    """

    name: str
    stored: dict[str, Stored] = field(default_factory=dict)
    _nodes: list[Any] = field(default_factory=list)
    _weights: list[_Weight] = field(default_factory=list)
    _borrowed: list[Any] = field(default_factory=list)
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

    def borrow(self, name: str, weight: Stored, shape: Sequence[int]) -> str:
        """Declare a weight that another graph has stored; `shape` may fold it otherwise."""
        if math.prod(shape) != math.prod(weight.shape):
            raise ValueError(f"{name}: {list(shape)} is no shape of {weight}")
        self._borrowed.append(_external(name, shape, weight))
        return name

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
        """Write the graph; return the files: `path`, and `<path>_data` with its large weights.

        One weight is in memory at a time, beside those that the caller holds; `onnx.save` would
        hold all of them.
        """
        data_path = data_file(path)
        tensors = self._write_data(data_path)
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, tensors)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=IR_VERSION,
            producer_name="hydra-mobile",
        )
        path.write_bytes(model.SerializeToString())
        return [path, data_path] if data_path.exists() else [path]

    def take_nodes(self) -> list[Any]:
        """Return the nodes added since the last call: for splicing into a graph made elsewhere."""
        nodes, self._nodes = self._nodes, []
        return nodes

    def inline_tensors(self) -> list[Any]:
        """Return the weights as tensors that hold their data; borrowed ones say where it lies."""
        return [*(_inline(weight) for weight in self._weights), *self._borrowed]

    def _write_data(self, data_path: Path) -> list[Any]:
        """Write the large weights to a file, if there are any; return all as tensors."""
        data_path.unlink(missing_ok=True)
        tensors = []
        for weight in self._weights:
            if weight.nbytes < LEAST_EXTERNAL:
                tensors.append(_inline(weight))
                continue
            with data_path.open("ab") as file:
                file.write(bytes(-file.tell() % _PAGE))
                place = Stored(data_path.name, file.tell(), weight.dtype, weight.shape)
                file.write(weight.data())
            self.stored[weight.name] = place
            tensors.append(_external(weight.name, weight.shape, place))
        return tensors + self._borrowed


def data_file(path: Path) -> Path:
    """Return where the large weights of a graph lie."""
    return path.with_name(path.name + "_data")


def _value_info(name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> Any:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, element, list(shape))


def _tensor(name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
    tensor = onnx.TensorProto(name=name, dims=shape)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(dtype)
    return tensor


def _external(name: str, shape: Sequence[int], place: Stored) -> Any:
    tensor = _tensor(name, shape, place.dtype)
    tensor.data_location = TensorProto.EXTERNAL
    location = {"location": place.file, "offset": place.offset, "length": place.nbytes}
    for key, value in location.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _inline(weight: _Weight) -> Any:
    tensor = _tensor(weight.name, weight.shape, weight.dtype)
    tensor.raw_data = weight.data()
    return tensor
