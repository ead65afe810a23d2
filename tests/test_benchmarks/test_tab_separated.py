import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_mobile.benchmarks.shared.tab_separated import read_columns, read_rows, write_rows
from hydra_mobile.core.errors import DataError

CELLS = st.text(st.sampled_from('a"\t\n 1é'), max_size=6)


def table(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.tsv"
    # A row of empty cells has a line of its own all the same: two tabs.
    dicts = [dict(zip("abc", row, strict=True)) for row in rows]
    write_rows(path, "abc", dicts)
    assert read_columns(path) == ["a", "b", "c"]
    assert [row.cells for row in read_rows(path, large=())] == dicts
    with path.open(newline="", encoding="utf-8") as handle:
        assert list(csv.reader(handle, delimiter="\t"))[1:] == rows


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4))
def test_large_cells_are_located_to_the_byte(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.tsv"
    write_rows(path, ("a", "image", "c"), [dict(zip(("a", "image", "c"), row, strict=True)) for
                                           row in rows])  # fmt: skip
    content = path.read_bytes()
    for row, (first, image, last) in zip(read_rows(path), rows, strict=True):
        span = row.spans["image"]
        assert row.cells == {"a": first, "c": last}
        raw = content[span.offset : span.offset + span.length]
        assert raw.decode().replace('""', '"') == image
        assert span.head == raw[:32]


def test_line_ends_byte_order_mark_and_stray_quotes(tmp_path: Path) -> None:
    text = '\ufeffa\tb\r\n6" pipe\t"x\r\ny"\r\n\r\n1\t\r\n"p"q\tlast'
    rows = list(read_rows(table(tmp_path / "t.tsv", text), large=("b",)))
    assert [row.cells["a"] for row in rows] == ['6" pipe', "1", "p"]
    content = (tmp_path / "t.tsv").read_bytes()
    spans = [row.spans["b"] for row in rows]
    assert [content[s.offset : s.offset + s.length] for s in spans] == [b"x\r\ny", b"", b"last"]
    assert [row.number for row in rows] == [1, 2, 3]


def test_equal_cells_have_equal_digests(tmp_path: Path) -> None:
    rows = list(read_rows(table(tmp_path / "t.tsv", "a\timage\n1\tXY\n2\tXY\n3\tXZ\n")))
    first, second, third = (row.spans["image"] for row in rows)
    assert first.digest == second.digest != third.digest
    assert first.offset != second.offset


def test_broken_tables_are_refused_by_file_and_record(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    with pytest.raises(DataError, match=r"t\.tsv is missing"):
        read_columns(path)
    with pytest.raises(DataError, match=r"t\.tsv has no header"):
        read_columns(table(path, ""))
    with pytest.raises(DataError, match=r"t\.tsv: record 2 has 1 cells, the header 2"):
        list(read_rows(table(path, "a\tb\n1\t2\n3\n")))
    with pytest.raises(DataError, match=r"a quoted cell of record 2 is never closed \(3 lines\)"):
        list(read_rows(table(path, 'a\tb\n1\t2\n3\t"4\n5\t6\n7\t8\n')))
    path.write_bytes(b"a\tb\n1\t\xff\n")
    with pytest.raises(DataError, match=r"record 1 is no UTF-8"):
        list(read_rows(path, large=()))


def test_a_big_table_is_read_in_the_memory_of_a_row(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "t.tsv"
    picture = "A" * 200_000
    write_rows(path, ("index", "image"), ({"index": str(n), "image": picture} for n in range(100)))
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    rows = list(read_rows(path))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 100
    assert kept < 300_000
    assert peak < 3_000_000


def test_the_csv_module_reads_the_same(tmp_path: Path) -> None:
    text = 'a\tb\n"q""q"\t"t\tt"\n"n\nn"\tplain\n'
    rows = [row.cells for row in read_rows(table(tmp_path / "t.tsv", text), large=())]
    assert [list(row.values()) for row in rows] == list(
        csv.reader(io.StringIO(text), delimiter="\t")
    )[1:]
