"""Tables of questions as they are published: VLMEvalKit's tsv, and parquet of the Hugging Face hub.

Both hold their pictures; they are unpacked into the cache row by row, so that memory stays that of
one row.
"""

from __future__ import annotations

import ast
import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from hydra_mobile.benchmarks.pictures import MissingPicture, Picture, unpacked
from hydra_mobile.benchmarks.shared.choice_letters import is_none
from hydra_mobile.benchmarks.shared.tab_separated import read_columns, read_rows
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.registry import missing_extra

_MEND = "Download the table again."
#: Rows of a parquet file that are in memory at a time.
_BATCH = 16
#: A shorter cell is no picture, but the index of the row that has it.
_LONGEST_INDEX = 64


@dataclass(frozen=True)
class TableRow:
    """One record.

    Attributes:
        where: table and record, for messages.
        cells: column -> value, without pictures.
        pictures: column -> picture; of cells that hold several, all of them.
    """

    where: str
    cells: Mapping[str, Any]
    pictures: Mapping[str, Sequence[Picture]]

    def has(self, *columns: str) -> bool:
        """Say whether one of the columns is there and not empty."""
        return any(not _is_empty(self.cells.get(column)) for column in columns)

    def text(self, *columns: str, default: str | None = None) -> str:
        """Return the first of the columns that is not empty, as text.

        Raises:
            DataError: there is none, and no default.
        """
        for column in columns:
            if not _is_empty(self.cells.get(column)):
                return str(self.cells[column])
        if default is None:
            raise self.wrong(f"no `{' or '.join(columns)}`", "that column")
        return default

    def texts(self, *columns: str) -> tuple[str, ...]:
        """Return the texts of a list: a list, a list written as text, or one text by itself."""
        for column in columns:
            found = self.cells.get(column)
            if _is_empty(found):
                continue
            if isinstance(found, str) and found.lstrip().startswith("["):
                found = self._list(column, found)
            if not isinstance(found, list | tuple):
                found = [found]
            # VQAv2's answers are objects.
            return tuple(str(x["answer"]) if isinstance(x, dict) else str(x) for x in found)
        return ()

    def options(self) -> tuple[str, ...]:
        """Return the options of the columns A, B, ... up to the first missing one."""
        found = []
        for letter in ascii_uppercase:
            value = self.cells.get(letter)
            if value is None or is_none(str(value)):
                break
            found.append(str(value))
        return tuple(found)

    def picture(self, column: str = "image") -> Picture | None:
        """Return the one picture of a column; None for none.

        Raises:
            DataError: there are several.
        """
        found = self.pictures.get(column, ())
        if len(found) > 1:
            raise self.wrong(f"{len(found)} images", "one image")
        return found[0] if found else None

    def wrong(self, found: str, expected: str) -> DataError:
        """Return the error that says what is wrong with the record."""
        return DataError(
            "a record of the table cannot be used",
            _MEND,
            where=self.where,
            found=found,
            expected=expected,
        )

    def _list(self, column: str, text: str) -> Any:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise self.wrong(f"`{column}` {text[:60]!r}", "a list") from None


def read_table(path: Path) -> Iterator[TableRow]:
    """Yield the records of a table; the pictures of a tsv may be in other rows.

    Raises:
        DataError: the table is missing, cut short or of another format; names it.
        HydraError: pyarrow, which reads parquet, is not installed.
    """
    return _parquet(path) if path.suffix == ".parquet" else _tsv(path)


def columns_of(path: Path) -> list[str]:
    """Return the names of a table's columns; errors as of `read_table`."""
    return _opened(path).schema_arrow.names if path.suffix == ".parquet" else read_columns(path)


def count_of(path: Path) -> int:
    """Return how many records a table has; errors as of `read_table`."""
    if path.suffix == ".parquet":
        return int(_opened(path).metadata.num_rows)
    return sum(1 for _ in read_rows(path))


def _opened(path: Path) -> Any:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    try:
        return ParquetFile(path)
    except (ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not readable as parquet: {error}.", _MEND) from error


def _parquet(path: Path) -> Iterator[TableRow]:
    number = 0
    for batch in _opened(path).iter_batches(batch_size=_BATCH):
        for cells in batch.to_pylist():
            number += 1
            where = f"{path}, record {number}"
            pictures = {
                name: [_of_bytes(each, where) for each in _list_of(value)]
                for name, value in cells.items()
                if _is_picture(value)
            }
            rest = {name: value for name, value in cells.items() if name not in pictures}
            yield TableRow(where, rest, pictures)


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_picture(value: Any) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and "bytes" in first


def _of_bytes(value: Mapping[str, Any], where: str) -> Picture:
    content = value["bytes"]
    if not content:
        return MissingPicture(where, "has an image without content")
    return unpacked(base64.b64encode(content).decode(), where)


def _tsv(path: Path) -> Iterator[TableRow]:
    rows: list[tuple[str, dict[str, str]]] = []
    found: dict[str, list[Picture] | str] = {}
    for row in read_rows(path):
        cells = dict(row.cells)
        where = f"{path}, record {row.number}"
        index = cells.get("index", str(row.number))
        if index in found:
            raise DataError(f"{path} has two rows with the index {index}.", _MEND)
        # Not kept with the row: all pictures together would fill the memory.
        found[index] = _of_cell(cells.pop("image", ""), where)
        rows.append((where, cells))
    for (where, cells), index in zip(rows, found, strict=True):
        pictures = found[index]
        if isinstance(pictures, str):
            pictures = _pointed(path, pictures, found)
        yield TableRow(where, cells, {"image": pictures})


def _of_cell(cell: str, where: str) -> list[Picture] | str:
    """Return the pictures of a cell, or the index of the row that has them."""
    text = cell.strip()
    if is_none(text):
        return []
    if text.startswith("["):
        return [
            unpacked(each, where) for each in TableRow(where, {"image": text}, {}).texts("image")
        ]
    return text if len(text) <= _LONGEST_INDEX else [unpacked(text, where)]


def _pointed(path: Path, index: str, found: Mapping[str, list[Picture] | str]) -> list[Picture]:
    pictures = found.get(index)
    if not isinstance(pictures, list):
        raise DataError(
            f"{path}: an image is said to be in the row {index}, which has none.", _MEND
        )
    return pictures


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)
