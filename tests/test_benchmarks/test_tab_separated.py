import csv
import time
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
    assert [row.cells for row in read_rows(path)] == dicts
    with path.open(newline="", encoding="utf-8") as handle:
        assert list(csv.reader(handle, delimiter="\t"))[1:] == rows


def test_line_ends_byte_order_mark_and_stray_quotes(tmp_path: Path) -> None:
    text = '\ufeffa\tb\r\n6" pipe\t"x\r\ny"\r\n\r\n1\t\r\n2\tlast'
    rows = list(read_rows(table(tmp_path / "t.tsv", text)))
    assert [list(row.cells.values()) for row in rows] == [
        ['6" pipe', "x\r\ny"], ["1", ""], ["2", "last"]
    ]  # fmt: skip
    assert [row.number for row in rows] == [1, 2, 3]


def test_broken_tables_are_refused_by_file_and_record(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    with pytest.raises(DataError, match=r"t\.tsv.*missing"):
        read_columns(path)
    with pytest.raises(DataError, match=r"t\.tsv.*header"):
        read_columns(table(path, ""))
    with pytest.raises(DataError, match=r"t\.tsv: record 2.* 1 cells"):
        list(read_rows(table(path, "a\tb\n1\t2\n3\n")))
    with pytest.raises(DataError, match=r"t\.tsv: .*quoted.*record 2"):
        list(read_rows(table(path, 'a\tb\n1\t2\n3\t"4\n5\t6\n7\t8\n')))
    with pytest.raises(DataError, match=r"record 2 \(line 3\)"):
        list(read_rows(table(path, 'a\tb\n1\t2\n"p"q\t4\n')))
    path.write_bytes(b"a\tb\n1\t\xff\n")
    with pytest.raises(DataError, match=r"record 1.*UTF-8"):
        list(read_rows(path))


def test_a_big_table_is_read_in_the_memory_of_a_row(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "t.tsv"
    picture = "A" * 200_000
    write_rows(path, ("index", "image"), ({"index": str(n), "image": picture} for n in range(100)))
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    assert sum(len(row.cells["image"]) for row in read_rows(path)) == 20_000_000
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 300_000
    assert peak < 3_000_000


def test_a_quote_that_never_closes_is_told_in_seconds(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    line = "1\t" + "A" * 9_997 + "\n"
    path.write_text('index\timage\n1\t"A\n' + line * 10_000)
    before = time.process_time()
    with pytest.raises(DataError, match=r"t\.tsv: .*quoted.*record 1"):
        list(read_rows(path))
    assert time.process_time() - before < 10
