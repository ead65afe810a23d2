import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_mobile.benchmarks.shared.xlsx import read_sheet, write_sheet
from hydra_mobile.core.errors import DataError, HydraError

PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=4))
def test_texts_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("book") / "b.xlsx"
    write_sheet(path, [["head", *texts]])
    assert read_sheet(path) == [["head", *texts]]


def test_numbers_empty_cells_and_far_columns(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    row: list[str | int | None] = [7001, None, "=1+1", "_x0041_", " lead", "a\r\nb\x07\ud800"]
    row += [None] * 24 + ["AE"]
    write_sheet(path, [row, [], ["x", None]])
    first, second, third = read_sheet(path)
    assert first[:6] == ["7001", "", "=1+1", "_x0041_", " lead", "a\r\nb\x07\ufffd"]
    assert first[30] == "AE"
    assert (second, third) == ([], ["x"])
    with zipfile.ZipFile(path) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert '<c r="A1" t="n"><v>7001</v></c>' in sheet
    assert '<c r="AE1" t="inlineStr">' in sheet
    assert "<f>" not in sheet


def test_equal_sheets_are_equal_files(tmp_path: Path) -> None:
    for name in ("a.xlsx", "b.xlsx"):
        write_sheet(tmp_path / name, [["x", 1]])
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()


def book(path: Path, rows: str, shared: str = "") -> Path:
    """A workbook as spreadsheet programs write them: shared strings, a sheet under a long path."""
    links = (
        f'<Relationships xmlns="{PACKAGE}"><Relationship Id="rId9" Type="{OFFICE}/worksheet" '
        f'Target="/xl/worksheets/table.xml"/><Relationship Id="rId2" Type="{OFFICE}/worksheet" '
        'Target="/xl/worksheets/other.xml"/></Relationships>'
    )
    main, kind = "/xl/workbook.xml", "application/vnd.openxmlformats-officedocument.spreadsheetml"
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{types}"><Override PartName="{main}" '
            f'ContentType="{kind}.sheet.main+xml"/>'
            + (
                '<Override PartName="/xl/sharedStrings.xml" '
                f'ContentType="{kind}.sharedStrings+xml"/>'
            )
            * bool(shared)
            + "</Types>",
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets><sheet name="s" sheetId="4" '
            'r:id="rId9"/><sheet name="t" sheetId="5" r:id="rId2"/></sheets></workbook>',
        )
        archive.writestr("xl/_rels/workbook.xml.rels", links)
        archive.writestr(
            "xl/worksheets/table.xml",
            f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>',
        )
        archive.writestr("xl/worksheets/other.xml", f'<worksheet xmlns="{MAIN}"/>')
        if shared:
            archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{MAIN}">{shared}</sst>')
    return path


def test_what_other_programs_write_is_read(tmp_path: Path) -> None:
    shared = (
        "<si><t>plain</t></si>"
        '<si><r><t>in </t></r><r><rPr/><t>runs</t></r><rPh sb="0" eb="1"><t>said</t></rPh></si>'
        '<si><t xml:space="preserve"> a_x000D_b </t></si>'
    )
    rows = (
        '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c>'
        '<c r="D1" t="s"><v>2</v></c></row>'
        '<row r="2"><c><v>7001.0</v></c><c t="n"><v>1.25</v></c><c t="b"><v>1</v></c>'
        '<c t="str"><v>made</v></c><c t="inlineStr"><is><t>here</t></is></c><c/></row>'
        '<row r="3"><c r="A3"><f>1+1</f><v></v></c><c r="B3"><f>1+1</f><v>2</v></c></row>'
    )
    assert read_sheet(book(tmp_path / "b.xlsx", rows, shared)) == [
        ["plain", "in runs", "", " a\rb "],
        ["7001", "1.25", "True", "made", "here"],
        ["=1+1", "2"],
    ]


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    with pytest.raises(DataError, match=r"b\.xlsx.*missing"):
        read_sheet(path)
    path.write_text("index,prediction\n")
    with pytest.raises(DataError, match=r"(?s)b\.xlsx.*Save"):
        read_sheet(path)
    book(path, '<row><c t="s"><v>5</v></c></row>', "<si><t>one</t></si>")
    with pytest.raises(DataError, match=r"b\.xlsx.*workbook"):
        read_sheet(path)
    book(path, "<row>")
    with pytest.raises(DataError, match=r"b\.xlsx.*workbook"):
        read_sheet(path)


@pytest.mark.parametrize(
    "rows",
    [
        '<row r="1"><c r="XFE1"><v>1</v></c></row>',
        '<row r="1"><c r="ZZZZZZZ1"><v>1</v></c></row>',
        pytest.param(
            '<row r="1"><c r="A1"><v>1</v></c></row><row r="99999999"><c r="A99999999"/></row>',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_sheet_that_claims_more_than_the_format_has_is_refused(tmp_path: Path, rows: str) -> None:
    with pytest.raises(DataError, match=r"b\.xlsx"):
        read_sheet(book(tmp_path / "b.xlsx", rows))


def test_texts_that_look_like_formulas_or_errors_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    texts = ['=HYPERLINK("http://x","y")', "+1", "-1", "@x", "#N/A", "TRUE", "1.50", "2026-01-01"]
    write_sheet(path, [texts])
    assert read_sheet(path) == [texts]
    with zipfile.ZipFile(path) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert sheet.count('t="inlineStr"') == len(texts)


def test_without_openpyxl_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HydraError, match=r"hydra-mobile\[mmbench\]"):
        write_sheet(tmp_path / "b.xlsx", [["x"]])
    assert not (tmp_path / "b.xlsx").exists()
