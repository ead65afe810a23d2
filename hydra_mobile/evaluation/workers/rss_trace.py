"""Resident memory of a worker along the way, to see whether it stays flat."""

from __future__ import annotations

from typing import Any

import psutil

#: How often in a benchmark resident memory is noted.
_MEMORY_NOTES = 20


class Memory:
    """Resident memory along the way, at some twenty moments.

    Args:
        questions: how many will be answered.
    """

    def __init__(self, questions: int) -> None:
        self._process = psutil.Process()
        self._every = max(1, questions // _MEMORY_NOTES)
        self._answered = 0
        self._notes: list[tuple[int, int]] = []

    def note(self) -> None:
        """Count one answer."""
        self._answered += 1
        if self._answered == 1 or self._answered % self._every == 0:
            self._notes.append((self._answered, self._process.memory_info().rss))

    def to_dict(self) -> dict[str, Any]:
        """Return (answers so far, bytes) pairs as JSON values."""
        return {
            "answered": self._answered,
            "resident_bytes": self._notes,
        }
