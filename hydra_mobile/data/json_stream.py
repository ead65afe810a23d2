"""The records of a JSON list or a jsonl file one after another, in the memory of one record.

A mix665k-style file has a gigabyte on one line; decoding it whole costs five times that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ijson

from hydra_mobile.core.boundaries import reason_of
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.json_guard import GuardedFile, JsonGuard
from hydra_mobile.core.json_text import DuplicateKey, dumps, loads

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TWICE = "Leave one of them: readers differ in which one they take."
_CUT_SHORT = "The file was cut short or altered; make or download it again."


class Place(NamedTuple):
    """One record of a file.

    Attributes:
        number: of the record, counted from 0.
        where: file and place, for messages.
        value: what JSON gave; a `DataError` for a jsonl line that is no JSON.
    """

    number: int
    where: str
    value: Any


class JsonRecords:
    """Iterates over a file; `bytes_read` of `bytes_total` tell how far it is.

    Raises:
        DataError: the file is missing or cannot be read; while iterating: it is no list, no JSON,
            or ends in the middle of a record. All records before that place have been given.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_read = 0
        with _explained(path):
            self.bytes_total = path.stat().st_size

    def __iter__(self) -> Iterator[Place]:
        with _explained(self.path), self.path.open("rb") as handle:
            for place in self._lines(handle) if self.is_lines else self._items(handle):
                self.bytes_read = handle.tell()
                yield place
        self.bytes_read = self.bytes_total

    @property
    def is_lines(self) -> bool:
        """Whether the file holds one record a line, as its name says."""
        return self.path.suffix == ".jsonl"

    def _lines(self, handle: BinaryIO) -> Iterator[Place]:
        index = 0
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            where = f"{self.path}, line {number}"
            yield Place(index, where, decoded(line, where))
            index += 1

    def _items(self, handle: BinaryIO) -> Iterator[Place]:
        self._expect_list(handle)
        index = 0
        try:
            items = ijson.items(GuardedFile(handle), "item", map_type=_Object)
            for index, value in enumerate(items, 1):
                where = f"{self.path}, record {index - 1}"
                yield Place(index - 1, where, _without_duplicates(value, where))
        except DataError:
            raise
        except (ijson.JSONError, ValueError, RecursionError) as error:
            # The latter come of the bounds and of numbers.
            if not isinstance(error, ijson.JSONError):
                raise DataError(
                    f"{self.path} cannot be read near record {index}: {reason_of(error)}.",
                    _CUT_SHORT,
                ) from error
            reason = _reason(error)
            if "premature" in reason or "ncomplete" in reason:
                raise DataError(
                    f"{self.path} is cut short: it ends after {index} whole records, before its "
                    "list is closed.",
                    "Make or download the file again.",
                ) from error
            raise DataError(
                f"{self.path} is not JSON from record {index} on: {reason}", _CUT_SHORT
            ) from error

    def _expect_list(self, handle: BinaryIO) -> None:
        """Leave `handle` at the "[" that opens the list."""
        if handle.read(3) != _BYTE_ORDER_MARK:
            handle.seek(0)
        first = handle.read(1)
        while first.isspace():
            first = handle.read(1)
        if not first:
            raise DataError(f"{self.path} is empty: expected a list of records.", _CUT_SHORT)
        if first != b"[":
            start = (first + handle.read(30)).decode("utf-8", "replace")
            raise DataError(
                f"{self.path} begins with {start!r}: expected a list of records, [...].",
                "A file with one record a line must be named .jsonl.",
            )
        handle.seek(-1, 1)


class _Object(dict[str, Any]):
    """An object of JSON that knows a key which it was given twice."""

    twice: str | None = None

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            self.twice = key
        super().__setitem__(key, value)


def _without_duplicates(value: Any, where: str) -> Any:
    """Return a record, or in its place a `DataError` if an object of it has a key twice.

    It is returned, not raised: one bad record of many may be left out.
    """
    open_values = [value]
    while open_values:
        each = open_values.pop()
        if isinstance(each, _Object):
            if each.twice is not None:
                return DataError(f"{where}: {DuplicateKey(each.twice)}.", _TWICE)
            open_values += each.values()
        elif isinstance(each, list):
            open_values += each
    return value


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn errors of the file system inside the block into `DataError`."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", "Check the path of the data file.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def _reason(error: ijson.JSONError) -> str:
    """Return the first line of a message of the parser; a stretch of the file is below it."""
    message = error.args[0]
    # The text around bytes that are no UTF-8 comes as bytes.
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
    return text.strip().split("\n")[0]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def decoded(line: bytes, where: str) -> Any:
    """Return what a JSON text says; a `DataError` that names `where` in its place if it is none.

    It is returned, not raised: one bad record of many may be left out.
    """
    try:
        JsonGuard().feed(line)
        value = loads(line, parse_constant=_refuse)
        if b"\\ud" in line.lower():
            # Half a surrogate pair is no character: "?", as the parser of lists has it.
            whole = dumps(value, ensure_ascii=False).encode(errors="replace")
            value = loads(whole)
        return value
    # Not only JSONDecodeError: bad UTF-8, long numbers, deep nesting.
    except DuplicateKey as error:
        return DataError(f"{where}: {error}.", _TWICE)
    except (ValueError, RecursionError) as error:
        return DataError(f"{where} is not JSON: {reason_of(error)}.", _CUT_SHORT)
