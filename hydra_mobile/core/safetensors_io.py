"""Safetensors files larger than memory: read, written and overwritten one tensor at a time.

Reading is the library's. Writing is here because the library's `save_file` takes all tensors at
once, and overwriting because merging changes neither shapes nor dtypes: a merged file is a copy
with some byte ranges overwritten, so memory stays at one tensor and everything else stays bit for
bit. A file is 8 bytes of header length, a JSON header and the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hydra_mobile.core.boundaries import FOREIGN, reading, shown
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.progress import Log

#: Every dtype that is read and written, by its name in a header.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
#: Weights that an update can be added to.
_FLOATS = tuple(name for name, dtype in DTYPES.items() if dtype.is_floating_point)
_DAMAGED: tuple[type[Exception], ...] = (SafetensorError, *FOREIGN)
_CHUNK = 1 << 24
# A line of progress for so many bytes.
_PROGRESS_EVERY = 500_000_000


@dataclass(frozen=True)
class Form:
    """Dtype and shape of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


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
    with reading(
        path, "a complete safetensors file", "It was cut short or altered; make or copy it again."
    ):
        total = path.stat().st_size
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
                _require_size(name, found[name], start >= 8 + length)
        end = max((place.start + place.size for place in found.values()), default=8 + length)
        if end != total:
            raise ValueError(f"{end} bytes are described, the file has {total}")
    return found


def _require_size(name: str, place: Place, inside: bool) -> None:
    """Raise unless a tensor's bytes are as many as its shape needs."""
    if not inside or any(type(n) is not int or n < 0 for n in place.shape):
        raise ValueError(f"the place of {shown(name)} is none")
    # Types that torch does not have are of other programs.
    if place.dtype in DTYPES:
        needed = Form(DTYPES[place.dtype], place.shape).size
        if needed != place.size:
            raise ValueError(f"{shown(name)} has {place.size} bytes, its shape needs {needed}")


def open_tensors(path: Path) -> tuple[dict[str, Form], Callable[[str], Tensor]]:
    """Return what a file holds, in the order of its bytes, and a reader of one of its tensors.

    The file is mapped; memory of a tensor belongs to it as long as the reader is alive.

    Raises:
        ArtifactError: the file is cut short or is no safetensors file, or a dtype is unknown.
    """
    try:
        handle: Any = safe_open(str(path), framework="pt")
        forms = {}
        for name in handle.offset_keys():
            part = handle.get_slice(name)
            if part.get_dtype() not in DTYPES:
                raise unknown_dtype(path, name, part.get_dtype())
            forms[name] = Form(DTYPES[part.get_dtype()], tuple(part.get_shape()))
    except _DAMAGED as error:
        raise ArtifactError(
            f"{path} is no readable safetensors file: {error}.", "Download or copy it again."
        ) from error
    return forms, handle.get_tensor


def unknown_dtype(path: Path, name: str, dtype: object) -> ArtifactError:
    """Return the error for a tensor of a dtype that is not in `DTYPES`."""
    return ArtifactError(
        f"{path}: `{name}` has dtype {dtype}; only {', '.join(DTYPES)} are read.",
        "Take the checkpoint as it was before it was quantized.",
    )


def read_tensor(path: Path, name: str) -> Tensor:
    """Read one floating-point tensor in its stored dtype.

    Raises:
        ArtifactError: the file is damaged, or the dtype is no floating-point type.
    """
    fix = "It was cut short or altered; make or copy it again."
    with (
        reading(path, "a safetensors file", fix, also=(SafetensorError,)),
        safe_open(str(path), framework="pt") as handle,
    ):
        _require_float(path, name, handle.get_slice(name).get_dtype())
        tensor: Tensor = handle.get_tensor(name)
    return tensor


def overwrite_tensor(path: Path, name: str, place: Place, value: Tensor) -> None:
    """Overwrite one tensor in its file, cast once to its stored dtype.

    Raises:
        ArtifactError: the tensor's dtype is no floating-point type, the shapes differ, or a value
            is not finite in the stored dtype.
    """
    if tuple(value.shape) != place.shape:
        raise ArtifactError(
            f"`{name}` has shape {place.shape} in {path.name}, the new value {tuple(value.shape)}."
        )
    _require_float(path, name, place.dtype)
    cast = value.detach().cpu().to(DTYPES[place.dtype])
    if not torch.isfinite(cast).all():
        raise ArtifactError(
            f"The new value of `{name}` is not finite in {place.dtype}, in which {path.name} "
            f"stores it; its largest is {float(value.detach().abs().max()):.3g}.",
            "The training diverged; take an earlier checkpoint, or merge into a base in float32.",
        )
    with path.open("r+b") as handle:
        handle.seek(place.start)
        handle.write(raw_bytes(cast))


def write_tensors(
    path: Path, forms: Mapping[str, Form], read: Callable[[str], Tensor], log: Log
) -> str:
    """Write the tensors of `forms` in their order, each read when it is its turn.

    Args:
        path: file to write.
        forms: what each tensor will be, by name.
        read: returns the tensor of a name.
        log: receives a line for each half gigabyte.

    Returns:
        The file's sha256 in hexadecimal.

    Raises:
        ArtifactError: a tensor is not what `forms` says: its file changed meanwhile.
    """
    digest = hashlib.sha256()
    total = total_bytes(forms)
    done = logged = 0
    with path.open("wb") as handle:

        def write(data: bytes | memoryview) -> None:
            handle.write(data)
            digest.update(data)

        header = dumps(_header(forms), separators=(",", ":")).encode()
        # Tensors begin at a multiple of 8.
        header += b" " * (-len(header) % 8)
        write(len(header).to_bytes(8, "little") + header)
        for name, form in forms.items():
            tensor = read(name)
            if tensor.dtype != form.dtype or tuple(tensor.shape) != form.shape:
                raise ArtifactError(
                    f"`{name}` is {tensor.dtype} {tuple(tensor.shape)} now, but was announced as "
                    f"{form.dtype} {form.shape}: its file changed while it was read."
                )
            write(raw_bytes(tensor))
            done += form.size
            if done - logged >= _PROGRESS_EVERY:
                logged = done
                log(f"  {done / 1e9:.1f} of {total / 1e9:.1f} GB")
    return digest.hexdigest()


def total_bytes(forms: Mapping[str, Form]) -> int:
    """Return the bytes of all tensors."""
    return sum(form.size for form in forms.values())


def raw_bytes(tensor: Tensor) -> memoryview:
    """Return a tensor's bytes in row-major order, without a copy where it is laid out so."""
    flat = tensor.detach().contiguous().reshape(-1)
    array: Any = flat.view(torch.uint8).numpy()
    return memoryview(array)


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


def _require_float(path: Path, name: str, dtype: str) -> None:
    if dtype not in _FLOATS:
        raise ArtifactError(
            f"`{name}` in {path} has dtype {dtype}; only {', '.join(_FLOATS)} can be merged.",
            "Merge into the base before it is quantized.",
        )


def _header(forms: Mapping[str, Form]) -> dict[str, object]:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, form in forms.items():
        header[name] = {
            "dtype": _NAMES[form.dtype],
            "shape": list(form.shape),
            "data_offsets": [start, start + form.size],
        }
        start += form.size
    return header
