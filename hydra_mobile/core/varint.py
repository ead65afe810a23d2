"""Protobuf's numbers of variable length, for readers that walk a file's fields themselves."""

from __future__ import annotations

import mmap


def read_varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """Return the number at byte `at`, in groups of 7 bits, the lowest first, and where it ends.

    Raises:
        IndexError: the data end inside the number.
    """
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
