"""Bounds on JSON before a parser sees it: how deep values are nested, how long numbers are.

The parser of lists crashes on an integer of some thousand digits and takes quadratic time and
memory for deep nesting. One linear pass over the bytes keeps both from it.
"""

from __future__ import annotations

from itertools import accumulate
from typing import BinaryIO

#: As deep as the phone's reader goes.
DEEPEST = 64
MOST_DIGITS = 1000

# Structure and quotes as they are, digits as "0", all else (also the sign of an exponent) a blank.
_TABLE = bytes(byte if byte in b'"[]{}' else 48 if 48 <= byte <= 57 else 32 for byte in range(256))
_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_RUN = b"0" * (MOST_DIGITS + 1)


class JsonGuard:
    """Sees the bytes of a JSON text in pieces and raises where a bound is passed."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_text = False
        self._digits = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Look at the next piece.

        Raises:
            ValueError: says what was found and what the bound is.
        """
        data = self._rest + data
        # An escape must not be cut in two.
        whole = len(data) - (len(data) - len(data.rstrip(b"\\"))) % 2
        self._rest = data[whole:]
        data = data[:whole].replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = data.translate(_TABLE).split(b'"')
        # Every second part lies outside of texts; a quote ends a number as a blank does.
        outside = b" ".join(parts[self._in_text :: 2])
        self._look_at(b" " + outside if self._in_text else outside)
        self._in_text ^= len(parts) % 2 == 0
        if self._in_text:
            self._digits = 0

    def _look_at(self, part: bytes) -> None:
        leading = len(part) - len(part.lstrip(b"0"))
        if _RUN in part or self._digits + leading > MOST_DIGITS:
            raise ValueError(f"a number of more than {MOST_DIGITS} digits")
        trailing = len(part) - len(part.rstrip(b"0"))
        self._digits = trailing + (self._digits if trailing == len(part) else 0)
        steps = [_STEP[byte] for byte in part.translate(None, _BRACKETS)]
        if not steps:
            return
        if max(accumulate(steps, initial=self._depth)) > DEEPEST:
            raise ValueError(f"values nested deeper than {DEEPEST}")
        self._depth += sum(steps)


class GuardedFile:
    """A binary file that passes what is read from it through a guard."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._guard = JsonGuard()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            ValueError: a bound is passed in them.
        """
        data = self._handle.read(size)
        self._guard.feed(data)
        return data
