"""Reads a saved `.mlpackage` back: functions, operators, types and stored weights.

Straight from the protobuf and the weight file, not through the library that wrote them, so that
what is checked is what lies on the disk.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# It warns on import of what is missing for prediction, which nothing here needs.
logging.getLogger("coremltools").setLevel(logging.ERROR)

from coremltools.proto import MIL_pb2, Model_pb2  # noqa: E402
from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from hydra_mobile.core.errors import ArtifactError  # noqa: E402

SPEC = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")

#: Data type of the format -> name, numpy's type.
_TYPES: dict[int, tuple[str, Any]] = {
    MIL_pb2.FLOAT16: ("fp16", np.float16),
    MIL_pb2.FLOAT32: ("fp32", np.float32),
    MIL_pb2.INT8: ("int8", np.int8),
    MIL_pb2.UINT8: ("uint8", np.uint8),
    MIL_pb2.INT16: ("int16", np.int16),
    MIL_pb2.UINT16: ("uint16", np.uint16),
    MIL_pb2.INT32: ("int32", np.int32),
    MIL_pb2.BOOL: ("bool", np.bool_),
    MIL_pb2.STRING: ("string", np.str_),
}
_NUMPY = dict(_TYPES.values())
#: An int8 weight with one scale for each row.
COMPRESSED = "constexpr_blockwise_shift_scale"
_SENTINEL = 0xDEADBEEF
#: Bytes before each weight: sentinel, type, size, offset of the data.
_ENTRY = np.dtype([("sentinel", "<u4"), ("type", "<u4"), ("bytes", "<u8"), ("offset", "<u8")])


@dataclass(frozen=True)
class TensorType:
    """Type of a value: "fp16", "fp32", "int8", ..., and its shape; -1 where it is not fixed."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        kind: for example "linear".
        name: as the converter named it; a stored weight has its parameter's name in it.
        inputs: argument -> names of values, or constants given in place.
        outputs: names and types of the results.
        constants: "val" of a constant.
        stored: whether that lies in the weight file.
    """

    kind: str
    name: str
    inputs: dict[str, list[str | Any]]
    outputs: list[tuple[str, TensorType]]
    constants: dict[str, Any] = field(default_factory=dict)
    stored: bool = False


@dataclass(frozen=True)
class Function:
    """One function of a program: inputs, operators in order, names of the results."""

    inputs: dict[str, TensorType]
    operators: list[Operator]
    outputs: dict[str, TensorType]
    states: tuple[str, ...] = ()

    def kinds(self) -> dict[str, int]:
        """Return how often each kind of operator occurs, constants left out."""
        return dict(sorted(Counter(o.kind for o in self.operators if o.kind != "const").items()))


@dataclass(frozen=True)
class Program:
    """A package that has been read.

    Attributes:
        folder: the `.mlpackage`.
        functions: by name.
        specification: version of the format, which decides what system can load it.
    """

    folder: Path
    functions: dict[str, Function]
    specification: int


def read_program(folder: Path) -> Program:
    """Read the package at `folder`.

    Weights are mapped, not read: they cost memory when they are used.

    Raises:
        ArtifactError: a file is missing or unreadable, or holds no ML program.
    """
    path = folder / SPEC
    model = Model_pb2.Model()
    try:
        model.ParseFromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise ArtifactError(
            f"{path} cannot be read as a CoreML model: {error}",
            "The file was altered or cut short; export it again.",
        ) from error
    if model.WhichOneof("Type") != "mlProgram":
        raise ArtifactError(f"{path} holds a {model.WhichOneof('Type')}, expected an mlProgram.")
    reader = _Reader(folder / WEIGHTS)
    described = {f.name: f for f in model.description.functions}
    functions = {
        name: reader.function(value, described.get(name, model.description))
        for name, value in model.mlProgram.functions.items()
    }
    return Program(folder, functions, int(model.specificationVersion))


class _Reader:
    """Turns protobuf messages into ours; holds the weight file."""

    def __init__(self, weights: Path) -> None:
        self._path = weights
        self._weights: NDArray[np.uint8] = (
            np.memmap(weights, np.uint8, "r") if weights.is_file() else np.zeros(0, np.uint8)
        )

    def function(self, function: Any, description: Any) -> Function:
        block = function.block_specializations[function.opset]
        inputs = {value.name: _tensor_type(value.type) for value in function.inputs}
        operators = [self._operator(message) for message in block.operations]
        types = {name: kind for operator in operators for name, kind in operator.outputs} | inputs
        return Function(
            inputs,
            operators,
            {name: types[name] for name in block.outputs},
            tuple(state.name for state in description.state),
        )

    def _operator(self, message: Any) -> Operator:
        inputs: dict[str, list[str | Any]] = {}
        for argument, value in message.inputs.items():
            inputs[argument] = [
                bound.name if bound.WhichOneof("binding") == "name" else self._value(bound.value)
                for bound in value.arguments
            ]
        constants = {
            key: self._value(value) for key, value in message.attributes.items() if key != "name"
        }
        name = message.attributes["name"].immediateValue.tensor.strings.values
        return Operator(
            message.type,
            name[0] if name else "",
            inputs,
            [(value.name, _tensor_type(value.type)) for value in message.outputs],
            constants,
            message.attributes["val"].WhichOneof("value") == "blobFileValue"
            if "val" in message.attributes
            else False,
        )

    def _value(self, value: Any) -> Any:
        """Return a constant: a string, or an array of the type that it is stored in."""
        kind = _tensor_type(value.type)
        if value.WhichOneof("value") == "blobFileValue":
            return self._stored(int(value.blobFileValue.offset), kind)
        tensor = value.immediateValue.tensor
        field_name = tensor.WhichOneof("value")
        if field_name is None:
            return np.zeros(kind.shape, _NUMPY[kind.dtype])
        raw = getattr(tensor, field_name).values
        if kind.dtype == "string":
            return str(raw[0])
        if field_name == "bytes":
            return np.frombuffer(raw, _NUMPY[kind.dtype]).reshape(kind.shape)
        return np.array(list(raw), _NUMPY[kind.dtype]).reshape(kind.shape)

    def _stored(self, offset: int, kind: TensorType) -> Any:
        entry = self._weights[offset : offset + _ENTRY.itemsize]
        dtype = np.dtype(_NUMPY[kind.dtype])
        wanted = int(np.prod(kind.shape)) * dtype.itemsize
        if len(entry) == _ENTRY.itemsize:
            head = entry.view(_ENTRY)[0]
            start, size = int(head["offset"]), int(head["bytes"])
            data = self._weights[start : start + size]
            if head["sentinel"] == _SENTINEL and size == wanted == len(data):
                return data.view(dtype).reshape(kind.shape)
        raise ArtifactError(
            f"{self._path} has no weight of {wanted} bytes ({kind}) at {offset}, which "
            f"{SPEC.name} names.",
            "The file was altered or cut short; export it again.",
        )


def _tensor_type(value: Any) -> TensorType:
    kind = value.WhichOneof("type")
    if kind != "tensorType":
        raise ArtifactError(f"The program holds a value of type {kind}; only tensors are read.")
    tensor = value.tensorType
    if tensor.dataType not in _TYPES:
        name = MIL_pb2.DataType.Name(tensor.dataType)
        raise ArtifactError(f"The program holds a tensor of {name}, which is not read here.")
    shape = tuple(
        int(d.constant.size) if d.WhichOneof("dimension") == "constant" else -1
        for d in tensor.dimensions
    )
    return TensorType(_TYPES[tensor.dataType][0], shape)


def dequantized(operator: Operator) -> NDArray[np.float32]:
    """Return `scale * (data - offset)` of an operator `constexpr_blockwise_shift_scale`.

    Each dimension of the scale divides that of the data: one scale for a block of neighbors.
    """
    arguments = {name: values[0] for name, values in operator.inputs.items()}
    data = np.asarray(arguments["data"]).astype(np.float32)

    def spread(value: Any) -> NDArray[np.float32]:
        wide = np.asarray(value).astype(np.float32)
        for axis, size in enumerate(data.shape):
            wide = np.repeat(wide, size // wide.shape[axis], axis=axis)
        return wide

    if "offset" in arguments:
        data = data - spread(arguments["offset"])
    result: NDArray[np.float32] = data * spread(arguments["scale"])
    return result


def stored_tensors(function: Function) -> Iterator[tuple[str, NDArray[Any], NDArray[Any] | None]]:
    """Yield name, numbers and scale of every constant tensor that lies in the weight file.

    Numbers of a compressed constant are dequantized, and its scale comes with them; otherwise the
    scale is None. A parameter `a.b.weight` has the name `p_a_b_weight`, perhaps with an ending.
    """
    for operator in function.operators:
        name = operator.outputs[0][0]
        if operator.kind == "const" and operator.stored:
            yield name, operator.constants["val"], None
        elif operator.kind == COMPRESSED:
            yield name, dequantized(operator), np.asarray(operator.inputs["scale"][0])
