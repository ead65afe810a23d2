"""What every container offers: its records one after another, and how far reading is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from hydra_mobile.data.json_stream import Place


class Container(Protocol):
    """Records in the order of the file."""

    @property
    def title(self) -> str:
        """What people call it, for example "parquet"."""

    @property
    def bytes_total(self) -> int:
        """Bytes of the container."""

    @property
    def bytes_read(self) -> int:
        """Bytes of them read so far."""

    @property
    def pictures_inside(self) -> bool:
        """Whether images may be in the container itself."""

    def __iter__(self) -> Iterator[Place]: ...

    def sha256(self) -> str:
        """Return a hash of the content, in hexadecimal."""

    def count(self) -> int | None:
        """Return the number of records where that is known without reading them."""


class Shards:
    """Several containers as one, in the order given."""

    def __init__(self, parts: Sequence[Container]) -> None:
        self._parts = parts
        self._before = 0
        self._now: Container | None = None
        self.title = f"{parts[0].title}, {len(parts)} shards"
        self.bytes_total = sum(part.bytes_total for part in parts)
        self.pictures_inside = any(part.pictures_inside for part in parts)

    @property
    def bytes_read(self) -> int:
        """Bytes of all shards read so far."""
        return self._before + (self._now.bytes_read if self._now else 0)

    def __iter__(self) -> Iterator[Place]:
        self._before, number = 0, 0
        for part in self._parts:
            self._now = part
            for place in part:
                yield place._replace(number=number)
                number += 1
            self._before += part.bytes_total
            self._now = None

    def sha256(self) -> str:
        """Return a hash of all shards in their order."""
        hashes = " ".join(part.sha256() for part in self._parts)
        return hashlib.sha256(hashes.encode()).hexdigest()

    def count(self) -> int | None:
        """Return the number of records where every shard knows its own."""
        counts = [part.count() for part in self._parts]
        return None if None in counts else sum(count or 0 for count in counts)


def without_nulls(value: Any) -> Any:
    """Return a value without the null fields that a column of objects gives to each of them."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def shards_in(path: Path) -> list[Path]:
    """Return the data files of a folder, or those that a pattern names, sorted by name."""
    if path.is_dir():
        for suffix in (".parquet", ".tar", ".jsonl"):
            if found := sorted(path.glob(f"*{suffix}")):
                return found
        return []
    return sorted(path.parent.glob(path.name))
