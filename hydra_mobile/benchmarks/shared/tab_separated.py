"""Tables separated by tabs whose cells may hold whole pictures, read in the memory of one row.

The format is what pandas writes: one record a line, a cell in double quotes where it holds a tab, a
line end or a quote. Cells of a picture column are not kept: the row says where in the file they
are, so that they can be read when needed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import write_atomically

_SPECIAL = re.compile('[\t\r\n"]')
_BOM = b"\xef\xbb\xbf"
_CUT = "The file was cut short or altered; download it again."
#: So much of a large cell is kept as text: enough for a number or the beginning of a list.
_HEAD = 32


@dataclass(frozen=True)
class Span:
    """Where a large cell is in its file.

    Attributes:
        offset: of its first byte, inside the quotes if it has any.
        length: in bytes.
        head: its first 32 bytes.
        digest: of its bytes; equal for equal cells.
    """

    offset: int
    length: int
    head: bytes
    digest: bytes


@dataclass(frozen=True)
class Row:
    """One record.

    Attributes:
        number: 1 for the first record after the header.
        cells: column -> text, large columns left out.
        spans: large column -> where its cell is.
    """

    number: int
    cells: dict[str, str]
    spans: dict[str, Span]


def read_columns(path: Path) -> list[str]:
    """Return the column names of a table.

    Raises:
        DataError: the file is missing or empty.
    """
    with _opened(path) as handle:
        return _header(path, handle)


def read_rows(path: Path, *, large: Sequence[str] = ("image",)) -> Iterator[Row]:
    """Yield the records of a table.

    Args:
        path: the table.
        large: columns whose cells are only located.

    Raises:
        DataError: the file is missing, is no UTF-8, ends inside a quoted cell, or a record has
            more or fewer cells than the header; names file and record.
    """
    with _opened(path) as handle:
        columns = _header(path, handle)
        for number, (start, record, bounds) in enumerate(_records(path, handle), start=1):
            if len(bounds) != len(columns):
                raise DataError(
                    f"{path}: record {number} has {len(bounds)} cells, the header {len(columns)}.",
                    _CUT,
                )
            cells, spans = {}, {}
            for column, (first, last, quoted) in zip(columns, bounds, strict=True):
                raw = record[first:last]
                if column in large:
                    digest = hashlib.blake2b(raw, digest_size=16).digest()
                    spans[column] = Span(start + first, last - first, raw[:_HEAD], digest)
                else:
                    cells[column] = _text(raw, quoted, path, number)
            yield Row(number, cells, spans)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a table, atomically.

    Args:
        path: the table.
        columns: in order.
        rows: column -> text; a missing column is an empty cell.
    """
    with (
        write_atomically(path) as temporary,
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


def _header(path: Path, handle: BinaryIO) -> list[str]:
    line = handle.readline().removeprefix(_BOM).rstrip(b"\r\n")
    bounds = _bounds(line)
    if not line or bounds is None:
        raise DataError(f"{path} has no header line with the names of its columns.", _CUT)
    return [_text(line[first:last], quoted, path, 0) for first, last, quoted in bounds]


def _records(
    path: Path, handle: BinaryIO
) -> Iterator[tuple[int, bytes, list[tuple[int, int, bool]]]]:
    """Yield offset, bytes and cell bounds of each record; lines inside quotes belong together."""
    parts: list[bytes] = []
    start = handle.tell()
    number = 1
    for line in handle:
        parts.append(line)
        # An open cell can only be closed by a quote; do not parse a long record line by line.
        if len(parts) > 1 and b'"' not in line:
            continue
        whole = b"".join(parts)
        record = whole.rstrip(b"\r\n")
        bounds = _bounds(record)
        if bounds is None:
            continue
        if record:
            yield start, record, bounds
            number += 1
        start += len(whole)
        parts.clear()
    if parts:
        raise DataError(
            f"{path}: a quoted cell of record {number} is never closed ({len(parts)} lines).", _CUT
        )


def _bounds(record: bytes) -> list[tuple[int, int, bool]] | None:
    """Return (first, last, quoted) of each cell; None while a quoted cell is open."""
    bounds = []
    at = 0
    while True:
        quoted = record[at : at + 1] == b'"'
        if quoted:
            last = _closing_quote(record, at + 1)
            if last < 0:
                return None
            end = record.find(b"\t", last)
        else:
            last = end = record.find(b"\t", at)
        end = len(record) if end < 0 else end
        bounds.append((at + 1, last, True) if quoted else (at, end, False))
        if end == len(record):
            return bounds
        at = end + 1


def _closing_quote(record: bytes, at: int) -> int:
    while True:
        quote = record.find(b'"', at)
        if quote < 0 or record[quote + 1 : quote + 2] != b'"':
            return quote
        at = quote + 2


def _text(raw: bytes, quoted: bool, path: Path, number: int) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: record {number} is no UTF-8 ({error}).", _CUT) from error
    return text.replace('""', '"') if quoted else text
