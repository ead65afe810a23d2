"""A zip file as Android wants an APK: stored where the system maps files, aligned to its pages.

Shared libraries are used straight from the APK, so each begins on a page of 16 KiB, which newer
phones have; other stored files on 4 bytes. The alignment is written into each entry the way the
signer reads it (extra field 0xD935), so that signing keeps it.
"""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

PAGE = 16384
#: Files that the system reads in place, or that are compressed already.
_STORED = (".so", ".arsc", ".png", ".webp", ".jpg")
#: A model is read from any place in it, and hardly smaller when it is compressed.
_STORED_FOLDER = "assets/models/"
_ALIGNMENT_FIELD = 0xD935
_LOCAL_HEADER = 30


def alignment_of(name: str) -> int:
    """Return what the data of a stored entry has to begin at a multiple of, in bytes."""
    return PAGE if name.endswith(".so") else 4


def write_apk(out: Path, entries: Iterable[tuple[str, bytes | Path]]) -> None:
    """Write entries to `out`, in their order, the same bytes each time.

    Args:
        out: the file to write.
        entries: name, and content or the file that holds it.
    """
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as apk:
        for name, data in entries:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            if name.endswith(_STORED) or name.startswith(_STORED_FOLDER):
                assert apk.fp is not None
                info.extra = _padding(apk.fp.tell() + _LOCAL_HEADER + len(name), alignment_of(name))
            else:
                info.compress_type = zipfile.ZIP_DEFLATED
            if isinstance(data, bytes):
                apk.writestr(info, data)
                continue
            info.file_size = data.stat().st_size
            with data.open("rb") as source, apk.open(info, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def data_offset(apk: Path, info: zipfile.ZipInfo) -> int:
    """Return where the data of an entry begins in the file."""
    with apk.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER)
    name, extra = struct.unpack_from("<HH", header, 26)
    return info.header_offset + _LOCAL_HEADER + int(name) + int(extra)


def _padding(offset: int, alignment: int) -> bytes:
    """Return an extra field after which `offset` is a multiple of the alignment."""
    fixed = 6
    fill = -(offset + fixed) % alignment
    return struct.pack("<HHH", _ALIGNMENT_FIELD, 2 + fill, alignment) + bytes(fill)
