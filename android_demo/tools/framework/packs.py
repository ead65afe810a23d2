"""Packs: jars whose entries are inflated and compressed together, at half the jars' size.

A pack is an xz stream of records: a kind (1 byte), a length (4 bytes, big-endian), that many bytes.
Kind 255 begins a jar and holds its name; 0 is written as it is; 1 to 9 is deflated at that level,
as the jar's entry was.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hydra_mobile.core.errors import ArtifactError

_BEGINS, _AS_IT_IS = 255, 0
_HEAD = struct.Struct(">BI")


def restore(pack: Path, folder: Path, wanted: set[str]) -> None:
    """Write the wanted jars of a pack into a folder.

    Raises:
        ArtifactError: the pack is cut short, or no pack.
    """
    out: BinaryIO | None = None
    try:
        for kind, content in _records(pack):
            if kind == _BEGINS:
                if out:
                    out.close()
                name = content.decode()
                out = (folder / name).open("wb") if name in wanted else None
            elif out:
                out.write(content if kind == _AS_IT_IS else _deflated(content, kind))
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{pack} is no whole pack of jars: {error}.", "Copy it again."
        ) from error
    finally:
        if out:
            out.close()


def _records(pack: Path) -> Iterator[tuple[int, bytes]]:
    with lzma.open(pack) as stream:
        while head := stream.read(_HEAD.size):
            if len(head) < _HEAD.size:
                raise EOFError("it ends within a record")
            kind, length = _HEAD.unpack(head)
            content = stream.read(length)
            if len(content) < length:
                raise EOFError("it ends within a record")
            yield kind, content


def _deflated(content: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 8)
    return packer.compress(content) + packer.flush()
