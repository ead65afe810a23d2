"""A parquet file, read in small batches: memory is that of one batch and one row group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra_mobile.core.boundaries import FOREIGN, reason_of
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.integrity import remembered_sha256
from hydra_mobile.core.registry import require_packages
from hydra_mobile.data.containers.base import without_nulls
from hydra_mobile.data.json_stream import Place

#: Rows decoded at a time: fewer where they hold pictures, which weigh a megabyte each.
_ROWS, _PICTURED_ROWS = 256, 16
_BUFFER_BYTES = 1 << 20


class ParquetFile:
    """The rows of a parquet file as records.

    Raises:
        DataError: it is not a parquet file, or is damaged; while iterating too.
    """

    title = "parquet"

    def __init__(self, path: Path) -> None:
        require_packages(("pyarrow",), "data")
        self._path = path
        self.bytes_total = path.stat().st_size
        self.bytes_read = 0
        with self._open() as file:
            self._rows = int(file.metadata.num_rows)
            self.pictures_inside = holds_bytes(file.schema_arrow)

    def _open(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # Unmapped and unbuffered ahead: resident memory stays that of a batch.
            return pq.ParquetFile(self._path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        except (pa.ArrowException, *FOREIGN) as error:
            raise self._damaged(0, error) from error

    def __iter__(self) -> Iterator[Place]:
        import pyarrow as pa

        number = 0
        with self._open() as file:
            batches = file.iter_batches(
                batch_size=_PICTURED_ROWS if self.pictures_inside else _ROWS, use_threads=False
            )
            while True:
                try:
                    batch = next(batches, None)
                    rows = [] if batch is None else rows_of(batch)
                except (pa.ArrowException, *FOREIGN) as error:
                    raise self._damaged(number, error) from error
                if batch is None:
                    break
                for row in rows:
                    yield Place(number, f"{self._path}, record {number}", without_nulls(row))
                    number += 1
                self.bytes_read = self.bytes_total * number // max(1, self._rows)
        self.bytes_read = self.bytes_total

    def _damaged(self, number: int, error: Exception) -> DataError:
        return DataError(
            f"{self._path} cannot be read as parquet from record {number} on: {reason_of(error)}.",
            "The file was cut short or altered; make or download it again.",
        )

    def sha256(self) -> str:
        """Return the file's hash."""
        return remembered_sha256(self._path)

    def count(self) -> int | None:
        """Return the number of rows."""
        return self._rows


def rows_of(table: Any) -> list[dict[str, Any]]:
    """Return the rows of an Arrow table or batch, without columns of dates and times.

    No conversation is made of them, and many are none that Python has: a year 38,000, nanoseconds.

    Raises:
        ValueError: a text is no UTF-8; a number is out of Python's range: OverflowError.
    """
    import pyarrow.types as types

    kept = [place for place, field in enumerate(table.schema) if not types.is_temporal(field.type)]
    # A table without columns has no rows.
    rows = table.select(kept).to_pylist() if kept else [{} for _ in range(table.num_rows)]
    return [dict(row) for row in rows]


def holds_bytes(schema: Any) -> bool:
    """Return whether a column of an Arrow schema holds bytes, at any depth."""
    import pyarrow.types as types

    def inside(kind: Any) -> bool:
        if types.is_binary(kind) or types.is_large_binary(kind):
            return True
        return any(inside(kind.field(i).type) for i in range(kind.num_fields))

    return any(inside(field.type) for field in schema)
