"""Excel workbooks (xlsx) of one sheet of texts and whole numbers, over openpyxl.

What openpyxl leaves to its caller is here: no formulas (a text that begins with "=" stays a text,
which matters for a model's answers), characters that XML cannot hold, equal files for equal sheets,
and bounds on what a hostile file may unfold to.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.registry import require_packages

EXTRA = "mmbench"
#: The bounds of the format: a sheet has no more.
_MOST_COLUMNS, _MOST_ROWS = 16_384, 1_048_576
#: Of all parts, unpacked: answers of a benchmark have some megabytes.
_MOST_BYTES = 2**29
#: Characters that XML cannot hold or changes are written as _xHHHH_, as Excel does.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_SURROGATE = re.compile("[\ud800-\udfff]")
#: A fixed time, so that equal sheets are equal files.
_TIME = (1980, 1, 1, 0, 0, 0)
_STAMP = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")


def require_xlsx() -> None:
    """Check that workbooks can be read and written, before there is work that may be lost.

    Raises:
        HydraError: openpyxl is not installed; the message has the line that installs it.
    """
    require_packages(("openpyxl",), EXTRA)


def read_sheet(path: Path) -> list[list[str]]:
    """Return the rows of the first sheet, every cell as text, empty cells as "".

    Whole numbers come without a decimal point. Rows are as long as their last filled cell.

    Raises:
        DataError: the file is missing or no workbook.
        HydraError: openpyxl is not installed.
    """
    require_xlsx()
    if not path.exists():
        raise DataError(f"{path} is missing.", where=str(path))
    with reading(
        path, "a readable xlsx workbook", "Save it again as xlsx.", error_class=DataError,
        # What parsers of XML raise.
        also=(SyntaxError,),
    ):  # fmt: skip
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unfolded = sum(entry.file_size for entry in archive.infolist())
        if unfolded > _MOST_BYTES:
            raise ValueError(f"parts that unfold to {unfolded:,} bytes, at most {_MOST_BYTES:,}")
        # A formula's value where the file has it. A text that began with "=" has none: openpyxl
        # took it for a formula when it was written, and nobody computed it.
        pairs = zip(_rows(content, values=True), _rows(content, values=False), strict=True)
        return [_texts(values, formulas) for values, formulas in pairs]


def write_sheet(path: Path, rows: Sequence[Sequence[str | int | None]]) -> None:
    """Write one sheet, atomically.

    Args:
        path: the workbook, .xlsx.
        rows: texts, whole numbers, and None for empty cells.

    Raises:
        HydraError: openpyxl is not installed.
    """
    require_xlsx()
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")

    def cell(value: str | int | None) -> Any:
        if not isinstance(value, str):
            return value
        made = WriteOnlyCell(sheet, _escaped(value))
        # Neither a formula ("=1+1") nor an error ("#N/A").
        made.data_type = "s"
        return made

    for row in rows:
        sheet.append([cell(value) for value in row])
    buffer = io.BytesIO()
    book.save(buffer)
    with (
        write_atomically(path) as temporary,
        zipfile.ZipFile(buffer) as made,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in made.namelist():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            content = made.read(name)
            if name == "docProps/core.xml":
                content = _STAMP.sub(rb"\g<1>1980-01-01T00:00:00Z", content)
            archive.writestr(entry, content)


def _rows(content: bytes, *, values: bool) -> Iterator[tuple[Any, ...]]:
    from openpyxl import load_workbook

    with warnings.catch_warnings():
        # Missing styles and unknown extensions do not touch the cells.
        warnings.simplefilter("ignore")
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=values)
        try:
            sheet = book.worksheets[0]
            # A file may claim any size; only its cells count.
            sheet.reset_dimensions()
            for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
                if number > _MOST_ROWS or len(row) > _MOST_COLUMNS:
                    raise ValueError(
                        f"row {number} has {len(row)} cells, the format ends at {_MOST_ROWS} rows "
                        f"and {_MOST_COLUMNS} columns"
                    )
                yield row
        finally:
            book.close()


def _texts(values: Sequence[Any], formulas: Sequence[Any]) -> list[str]:
    texts = [
        _text(formula if value is None else value)
        for value, formula in zip(values, formulas, strict=True)
    ]
    while texts and not texts[-1]:
        texts.pop()
    return texts


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), str(value))


def _escaped(text: str) -> str:
    safe = _SURROGATE.sub("\ufffd", text)
    return _FORBIDDEN.sub(lambda found: f"_x{ord(found.group()):04X}_", safe)
