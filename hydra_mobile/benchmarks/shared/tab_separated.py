"""Tables separated by tabs whose cells may hold whole pictures, in the memory of one row.

The format is what pandas writes: one record a line, a cell in double quotes where it holds a tab, a
line end or a quote.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.own_files import TABLE, own_file_atomically

_SPECIAL = re.compile('[\t\r\n"]')
_CUT = "The file was cut short or altered; download it again."
#: Characters of the largest cell. Behind a quote that never closes all else is one cell: it is
#: refused here, not when the memory is full.
_LARGEST = 32 * 2**20


@dataclass(frozen=True)
class Row:
    """One record.

    Attributes:
        number: 1 for the first record after the header.
        cells: column -> text.
    """

    number: int
    cells: dict[str, str]


def read_columns(path: Path) -> list[str]:
    """Return the column names of a table.

    Raises:
        DataError: the file is missing or empty.
    """
    with _opened(path) as handle:
        return _header(path, _records(path, handle))


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the records of a table.

    Raises:
        DataError: the file is missing, is no UTF-8, ends inside a quoted cell, or a record has
            more or fewer cells than the header; names file and record.
    """
    with _opened(path) as handle:
        records = _records(path, handle)
        columns = _header(path, records)
        for number, record in enumerate(records, start=1):
            if len(record) != len(columns):
                raise DataError(
                    f"{path}: record {number} has {len(record)} cells, the header {len(columns)}.",
                    _CUT,
                )
            yield Row(number, dict(zip(columns, record, strict=True)))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a table, atomically.

    Args:
        path: the table.
        columns: in order.
        rows: column -> text; a missing column is an empty cell.

    Raises:
        ArtifactError: `path` is there and is no table that was written here.
    """
    with (
        own_file_atomically(path, TABLE) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as handle,
    ):
        handle.write("\t".join(map(_cell, columns)) + "\n")
        for row in rows:
            handle.write("\t".join(_cell(row.get(column, "")) for column in columns) + "\n")


def _cell(text: str) -> str:
    # The csv module of some versions leaves a lone carriage return bare, which ends a row for
    # other readers.
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None


def _header(path: Path, records: Iterator[list[str]]) -> list[str]:
    columns = next(records, None)
    if not columns:
        raise DataError(f"{path} has no header line with the names of its columns.", _CUT)
    return columns


def _records(path: Path, handle: BinaryIO) -> Iterator[list[str]]:
    """Yield the cells of the header and of each record; empty lines are none."""
    # Decoded line by line: only so is it known which record is no UTF-8.
    lines = (line.decode("utf-8") for line in handle)
    csv.field_size_limit(_LARGEST)
    reader = csv.reader(_without_mark(lines), delimiter="\t", strict=True)
    number = 0
    try:
        for record in reader:
            if record:
                yield record
                number += 1
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: record {number} is no UTF-8 ({error}).", _CUT) from error
    except csv.Error as error:
        unclosed = "end of data" in str(error) or "field limit" in str(error)
        raise DataError(
            f"{path}: a quoted cell of record {number} is never closed (read to line "
            f"{reader.line_num})."
            if unclosed
            else f"{path}: record {number} (line {reader.line_num}) is not readable: {error}.",
            _CUT,
        ) from error


def _without_mark(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines without a byte order mark."""
    yield next(lines, "").removeprefix("\ufeff")
    yield from lines
