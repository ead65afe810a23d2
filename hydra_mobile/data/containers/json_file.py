"""A JSON list of records, or one record a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hydra_mobile.core.integrity import remembered_sha256
from hydra_mobile.data.json_stream import JsonRecords, Place


class JsonFile:
    """A .json or .jsonl file.

    Raises:
        DataError: it is missing; while iterating: as `JsonRecords`.
    """

    pictures_inside = False

    def __init__(self, path: Path) -> None:
        self._records = JsonRecords(path)
        self.title = "jsonl" if self._records.is_lines else "json"
        self.bytes_total = self._records.bytes_total

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        return self._records.bytes_read

    def __iter__(self) -> Iterator[Place]:
        return iter(self._records)

    def sha256(self) -> str:
        """Return the file's hash."""
        return remembered_sha256(self._records.path)

    def count(self) -> int | None:
        """Return None: only reading tells."""
        return None
