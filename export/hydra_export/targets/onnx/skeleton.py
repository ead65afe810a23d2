"""The graph of an ONNX file without its large weights, read without holding them.

Shapes and operators are a few hundred kilobytes of a file of gigabytes; protobuf's own parser would
hold all of it twice. Skips the raw data of large tensors by walking the encoding: a message is a
sequence of fields, each a tag, for some a length, and bytes (protobuf's encoding specification).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from hydra_export.targets.onnx.graph_writer import (
    GRAPH_INITIALIZER,
    MODEL_GRAPH,
    TENSOR_RAW_DATA,
    prefix,
)
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.varint import read_varint

#: Tensors up to this size are kept: shapes are derived from small constants.
_KEPT = 4096
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def skeleton(path: Path) -> Any:
    """Return the ModelProto in `path`; initializers above 4 KiB have no data.

    Raises:
        ArtifactError: the file is no ONNX model.
    """
    model = onnx.ModelProto()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            model.ParseFromString(_model(data))
    except (DecodeError, IndexError, ValueError) as error:
        raise ArtifactError(f"{path} is no ONNX model: {error}.", "Export it again.") from error
    return model


def _model(data: mmap.mmap) -> bytes:
    out = bytearray()
    for number, start, value, end in _fields(data, 0, len(data)):
        if number == MODEL_GRAPH:
            graph = _graph(data, value, end)
            out += prefix(MODEL_GRAPH, len(graph)) + graph
        else:
            out += data[start:end]
    return bytes(out)


def _graph(data: mmap.mmap, begin: int, stop: int) -> bytes:
    out = bytearray()
    for number, start, value, end in _fields(data, begin, stop):
        if number == GRAPH_INITIALIZER and end - value > _KEPT:
            kept = b"".join(
                data[first:last]
                for field, first, _, last in _fields(data, value, end)
                if field != TENSOR_RAW_DATA
            )
            out += prefix(GRAPH_INITIALIZER, len(kept)) + kept
        else:
            out += data[start:end]
    return bytes(out)


def _fields(data: mmap.mmap, begin: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field's number, start, start of its value, and end."""
    at = begin
    while at < stop:
        tag, value = read_varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            _, end = read_varint(data, value)
        elif kind == _LENGTH:
            length, value = read_varint(data, value)
            end = value + length
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            end = value + (8 if kind == _EIGHT_BYTES else 4)
        else:
            raise ValueError(f"unknown kind of field {kind} at byte {at}")
        if end > stop:
            raise ValueError(f"a field ends at byte {end}, its message at {stop}")
        yield tag >> 3, at, value, end
        at = end
