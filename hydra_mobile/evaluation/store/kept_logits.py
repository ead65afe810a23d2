"""First logits of some answers, kept to compare artifacts number by number.

A file is an array as numpy writes it, and behind it the sha256 of its bytes: readers of arrays stop
where the array ends.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from hydra_mobile.core.boundaries import FOREIGN, reason_of
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import write_atomically
from hydra_mobile.runtimes.base import Array

#: What numpy raises where a header is damaged.
_UNREADABLE: tuple[type[Exception], ...] = (*FOREIGN, SyntaxError)
_DIGEST_BYTES = hashlib.sha256().digest_size


def write_logits(file: Path, logits: Array) -> None:
    """Write logits so that a killed process leaves no half-written file."""
    buffer = io.BytesIO()
    np.save(buffer, logits)
    content = buffer.getvalue()
    with write_atomically(file) as temporary:
        temporary.write_bytes(content + hashlib.sha256(content).digest())


def read_logits(file: Path) -> Array:
    """Read logits [V]; files of earlier versions carry no digest.

    Raises:
        ArtifactError: the file was altered or cut short.
    """
    content = file.read_bytes()
    stream = io.BytesIO(content)
    try:
        logits: Array = np.load(stream)
    except _UNREADABLE as error:
        raise _altered(file, reason_of(error)) from error
    rest = content[stream.tell() :]
    digest = hashlib.sha256(content[: stream.tell()]).digest()
    if rest and rest != digest:
        raise _altered(file, f"the {_DIGEST_BYTES} bytes behind the array are not its sha256")
    return logits


def _altered(file: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{file} was altered: {why}.",
        f"Remove the folder {file.parent}: the report is made without these logits, or answer "
        "again.",
    )
