"""Writing one safetensors file tensor by tensor, in memory of one tensor.

The header is known before the first tensor is read: names, dtypes and shapes come from the files
read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_mobile.core.errors import ArtifactError

Log = Callable[[str], None]

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
        count = 1
        for side in self.shape:
            count *= side
        return count * self.dtype.itemsize


def total_bytes(forms: Mapping[str, Form]) -> int:
    """Return the bytes of all tensors."""
    return sum(form.size for form in forms.values())


def write_safetensors(
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
    done = told = 0
    with path.open("wb") as handle:

        def write(data: bytes | memoryview) -> None:
            handle.write(data)
            digest.update(data)

        header = json.dumps(_header(forms), separators=(",", ":")).encode()
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
            if done - told >= _PROGRESS_EVERY:
                told = done
                log(f"  {done / 1e9:.1f} of {total / 1e9:.1f} GB")
    return digest.hexdigest()


def raw_bytes(tensor: Tensor) -> memoryview:
    """Return a tensor's bytes in row-major order, without a copy where it is laid out so."""
    flat = tensor.detach().contiguous().reshape(-1)
    array: Any = flat.view(torch.uint8).numpy()
    return memoryview(array)


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
