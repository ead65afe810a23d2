"""Excel workbooks (xlsx) of one sheet of texts and whole numbers, by the standard library alone.

Reads the first sheet of what Excel, LibreOffice, openpyxl and XlsxWriter write, and writes what
they read (ECMA-376, SpreadsheetML). No formulas: a text that begins with "=" stays a text, which
matters for a model's answers.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import write_atomically

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'

#: Characters that XML cannot hold are written as _xHHHH_, as Excel does.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_SURROGATE = re.compile("[\ud800-\udfff]")
#: A fixed time, so that equal sheets are equal files.
_TIME = (1980, 1, 1, 0, 0, 0)


def read_sheet(path: Path) -> list[list[str]]:
    """Return the rows of the first sheet, every cell as text, empty cells as "".

    Whole numbers come without a decimal point. Rows are as long as their last filled cell.

    Raises:
        DataError: the file is missing or no workbook.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            shared = _shared_strings(archive)
            sheet = ElementTree.fromstring(archive.read(_first_sheet(archive)))
            return [_row(row, shared) for row in sheet.iter(f"{{{_MAIN}}}row")]
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (zipfile.BadZipFile, KeyError, IndexError, ValueError, ElementTree.ParseError) as error:
        raise DataError(
            f"{path} is not a readable xlsx workbook: {error}.",
            "Save it again as xlsx, or make it again.",
        ) from error


def write_sheet(path: Path, rows: Sequence[Sequence[str | int | None]]) -> None:
    """Write one sheet, atomically.

    Args:
        path: the workbook, .xlsx.
        rows: texts, whole numbers, and None for empty cells.
    """
    parts = {
        "[Content_Types].xml": _content_types(),
        "_rels/.rels": _relationships("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": (
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
            '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>'
        ),
        "xl/_rels/workbook.xml.rels": _relationships("worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": "".join(_sheet(rows)),
    }
    with (
        write_atomically(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, text in parts.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, (_HEAD + text).encode("utf-8"))


# -- reading ------------------------------------------------------------------------------------


def _first_sheet(archive: zipfile.ZipFile) -> str:
    workbook = ElementTree.fromstring(archive.read("xl/workbook.xml"))
    first = next(workbook.iter(f"{{{_MAIN}}}sheet"))
    wanted = first.attrib[f"{{{_OFFICE}}}id"]
    links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    target = next(link.attrib["Target"] for link in links if link.attrib["Id"] == wanted)
    return posixpath.normpath(posixpath.join("/xl", target)).lstrip("/")


def _shared_strings(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    table = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
    return [_string(item) for item in table.iter(f"{{{_MAIN}}}si")]


def _string(item: ElementTree.Element) -> str:
    """Join the runs of a text; a phonetic reading of it (rPh) is no part of it."""
    runs = [item, *item.findall(f"{{{_MAIN}}}r")]
    texts = [text.text or "" for run in runs for text in run.findall(f"{{{_MAIN}}}t")]
    return _ESCAPED.sub(lambda found: chr(int(found.group(1), 16)), "".join(texts))


def _row(row: ElementTree.Element, shared: Sequence[str]) -> list[str]:
    values: list[str] = []
    for cell in row.findall(f"{{{_MAIN}}}c"):
        # Empty cells are left out of the file; the reference says where this one stands.
        at = _column(cell.get("r", "")) if cell.get("r") else len(values)
        values += [""] * (at + 1 - len(values))
        values[at] = _value(cell, shared)
    return values


def _column(reference: str) -> int:
    number = 0
    for letter in reference.rstrip("0123456789"):
        number = number * 26 + ord(letter.upper()) - ord("A") + 1
    return number - 1


def _value(cell: ElementTree.Element, shared: Sequence[str]) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        inline = cell.find(f"{{{_MAIN}}}is")
        return "" if inline is None else _string(inline)
    text = cell.findtext(f"{{{_MAIN}}}v") or ""
    formula = cell.findtext(f"{{{_MAIN}}}f")
    if formula and not text:
        # A text that began with "=", which openpyxl took for a formula that nobody computed.
        return f"={formula}"
    if kind == "s" and text:
        return shared[int(text)]
    if kind == "b":
        return "True" if text == "1" else "False"
    if kind == "n" and text:
        number = float(text)
        return str(int(number)) if number.is_integer() else text
    return text


# -- writing ------------------------------------------------------------------------------------


def _sheet(rows: Sequence[Sequence[str | int | None]]) -> Iterator[str]:
    yield f'<worksheet xmlns="{_MAIN}"><sheetData>'
    for number, row in enumerate(rows, start=1):
        cells = "".join(
            _cell(f"{_letters(at)}{number}", value)
            for at, value in enumerate(row)
            if value is not None
        )
        yield f'<row r="{number}">{cells}</row>'
    yield "</sheetData></worksheet>"


def _cell(reference: str, value: str | int) -> str:
    if isinstance(value, int):
        return f'<c r="{reference}"><v>{value}</v></c>'
    text = _FORBIDDEN.sub(lambda found: f"_x{ord(found.group()):04X}_", value)
    # An XML reader turns a bare carriage return into a line feed; lone surrogates are no text.
    text = escape(_SURROGATE.sub("\ufffd", text), {"\r": "&#13;"})
    return f'<c r="{reference}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def _letters(column: int) -> str:
    name = ""
    while column >= 0:
        name = chr(ord("A") + column % 26) + name
        column = column // 26 - 1
    return name


def _relationships(kind: str, target: str) -> str:
    return (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/{kind}" Target="{target}"/></Relationships>'
    )


def _content_types() -> str:
    return (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>'
        '<Override PartName="/xl/worksheets/sheet1.xml" '
        f'ContentType="{_TYPES}.worksheet+xml"/></Types>'
    )
