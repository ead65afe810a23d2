"""Safetensors files one tensor at a time: where each tensor lies, reading and overwriting one.

A file is 8 bytes of header length, a JSON header and the tensors' bytes. Because merging changes
neither shapes nor dtypes, a merged file is a copy with some byte ranges overwritten: memory stays
at one tensor and everything else stays bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hydra_mobile.core.errors import ArtifactError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Place:
    """Where a tensor lies.

    Attributes:
        dtype: its safetensors dtype, for example "BF16".
        shape: its shape.
        start: first byte, from the start of the file.
        size: number of bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def places(path: Path) -> dict[str, Place]:
    """Return the place of every tensor in a safetensors file.

    Raises:
        ArtifactError: the file is cut short or is no safetensors file.
    """
    total = path.stat().st_size
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > total:
                raise ValueError("the header is longer than the file")
            header = json.loads(handle.read(length))
        found = {}
        for name, entry in header.items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                start = 8 + length + first
                found[name] = Place(entry["dtype"], tuple(entry["shape"]), start, last - first)
        end = max((place.start + place.size for place in found.values()), default=8 + length)
        if end != total:
            raise ValueError(f"{end} bytes are described, the file has {total}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} is no complete safetensors file ({error}).",
            "It was cut short or altered; make it or copy it again.",
        ) from error
    return found


def read_tensor(path: Path, name: str, place: Place) -> Tensor:
    """Read one floating-point tensor in its stored dtype.

    Raises:
        ArtifactError: the tensor's dtype is no floating-point type.
    """
    with path.open("rb") as handle:
        handle.seek(place.start)
        data = bytearray(handle.read(place.size))
    return torch.frombuffer(data, dtype=stored_dtype(path, name, place)).reshape(place.shape)


def write_tensor(path: Path, name: str, place: Place, value: Tensor) -> None:
    """Overwrite one tensor, cast once to its stored dtype.

    Raises:
        ArtifactError: the tensor's dtype is no floating-point type, or the shapes differ.
    """
    if tuple(value.shape) != place.shape:
        raise ArtifactError(
            f"`{name}` has shape {place.shape} in {path.name}, the new value {tuple(value.shape)}."
        )
    cast = value.detach().cpu().to(stored_dtype(path, name, place)).contiguous()
    with path.open("r+b") as handle:
        handle.seek(place.start)
        handle.write(cast.reshape(-1).view(torch.uint8).numpy().tobytes())


def tensor_hash(path: Path, place: Place) -> str:
    """Return the sha256 of one tensor's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        handle.seek(place.start)
        left = place.size
        while left:
            block = handle.read(min(left, _CHUNK))
            if not block:
                raise ArtifactError(f"{path} ended early: it changed while it was being read.")
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def stored_dtype(path: Path, name: str, place: Place) -> torch.dtype:
    """Return a tensor's torch dtype; `ArtifactError` unless it is a floating-point one."""
    if place.dtype not in _DTYPES:
        raise ArtifactError(
            f"`{name}` in {path} has dtype {place.dtype}; only {', '.join(_DTYPES)} can be merged.",
            "Merge into the base before it is quantized.",
        )
    return _DTYPES[place.dtype]
