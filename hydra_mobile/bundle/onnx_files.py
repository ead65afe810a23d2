"""The files that an ONNX graph reads weights from beside itself.

onnxruntime follows such a name wherever it leads inside the graph's folder, so a graph could read
bytes that no hash covers. The graph is walked as the protobuf that it is, mapped and without its
tensors: the package `onnx` would hold a graph of a gigabyte in memory a second time.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from hydra_mobile.core.errors import ArtifactError

# Message -> field -> message, of onnx.proto: every way from a model to a tensor.
_FIELDS = {
    "model": {7: "graph", 25: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
#: Graphs in graphs; ours have none.
_DEEPEST = 64


def external_files(path: Path) -> set[str]:
    """Return the names under which a graph reads tensors from other files, as they stand in it.

    Raises:
        ArtifactError: the file is no ONNX graph.
    """
    if not path.stat().st_size:
        raise ArtifactError(f"{path} is empty: expected an ONNX graph.", "Export it again.")
    with (
        path.open("rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        try:
            return set(_locations(data, 0, len(data), "model", 0))
        except (ValueError, IndexError) as error:
            raise ArtifactError(
                f"{path} is no ONNX graph: {error}.",
                "The file was altered or cut short; export it again.",
            ) from error


def _locations(data: mmap.mmap, at: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError(f"messages lie more than {_DEEPEST} deep in each other")
    for field, start, stop in _fields(data, at, end):
        inner = _FIELDS[message].get(field)
        if inner == "entry":
            pair = {key: data[first:last] for key, first, last in _fields(data, start, stop)}
            if pair.get(1) == b"location":
                yield pair.get(2, b"").decode("utf-8")
        elif inner:
            yield from _locations(data, start, stop, inner, depth + 1)


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of every field with a length; others are passed over."""
    while at < end:
        key, at = _varint(data, at, end)
        kind = key & 7
        if kind == 2:
            length, at = _varint(data, at, end)
            if at + length > end:
                raise ValueError(f"a field at byte {at} is longer than what holds it")
            yield key >> 3, at, at + length
            at += length
        elif kind == 0:
            _, at = _varint(data, at, end)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"byte {at} holds a field of kind {kind}")
    if at != end:
        raise ValueError("a field is cut short")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"a number is cut short at byte {at}")
