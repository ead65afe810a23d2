"""Entries of the cache: made once, read again, made anew when damaged."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.kept import kept, key_of


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def entry(key: str, made: list[str], said: list[str] | None = None) -> tuple[str, bool]:
    """Keep a text under `key`; `made` gets a line for each time that it is made."""

    def make() -> str:
        made.append(key)
        return f"made of {key}"

    def save(text: str, folder: Path) -> None:
        (folder / "below").mkdir()
        (folder / "below" / "text").write_text(text)

    def load(folder: Path) -> str:
        return (folder / "below" / "text").read_text()

    log = (said if said is not None else []).append
    return kept("shelf", key, make=make, save=save, load=load, log=log)


def test_what_was_made_is_read_again() -> None:
    made: list[str] = []
    assert entry("a", made) == ("made of a", False)
    assert entry("a", made) == ("made of a", True)
    assert entry("b", made) == ("made of b", False)
    assert made == ["a", "b"]


def test_a_key_is_of_all_values() -> None:
    keys = {key_of(v) for v in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1})}
    assert len(keys) == 4
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "record", "no record", "more"])
def test_a_damaged_entry_is_made_anew(home: Path, damage: str) -> None:
    made: list[str] = []
    entry("a", made)
    folder = home / "shelf" / "a"
    text, record = folder / "below" / "text", folder / "kept.json"
    if damage == "flip":
        text.write_text("made of A")
    elif damage == "cut":
        text.write_text("made")
    elif damage == "gone":
        text.unlink()
    elif damage == "record":
        record.write_text(record.read_text().replace("text", "test"))
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text("{}")
    assert entry("a", made) == ("made of a", False)
    assert entry("a", made) == ("made of a", True)
    assert made == ["a", "a"]


def test_errors_of_making_leave_nothing(home: Path) -> None:
    def make() -> str:
        raise HydraError("no")

    with pytest.raises(HydraError, match="no"):
        kept("shelf", "a", make=make, save=lambda *_: None, load=str, log=print)
    assert list((home / "shelf").iterdir()) == []


def test_a_cache_that_cannot_be_written_costs_no_result(home: Path) -> None:
    home.mkdir()
    (home / "shelf").write_text("a file")
    made: list[str] = []
    said: list[str] = []
    assert entry("a", made, said) == ("made of a", False)
    assert "shelf" in said[0]

    def save(text: str, folder: Path) -> None:
        raise HydraError("No space")

    result = kept("other", "a", make=lambda: "x", save=save, load=str, log=said.append)
    assert result == ("x", False)
    assert "No space" in said[1]


def test_the_entries_used_last_stay(home: Path) -> None:
    made: list[str] = []
    for number in range(8):
        entry(str(number), made)
        os.utime(home / "shelf" / str(number), (number, number))
    assert entry("0", made)[1]  # used again: no longer the oldest
    entry("8", made)
    names = {path.name for path in (home / "shelf").iterdir()}
    assert names == {"0", *map(str, range(2, 9))}


def test_a_shelf_has_so_many_bytes(home: Path) -> None:
    def save(data: bytes, folder: Path) -> None:
        (folder / "data").write_bytes(data)

    for key in "abc":
        kept(
            "shelf",
            key,
            make=lambda: bytes(3000),
            save=save,
            load=lambda folder: (folder / "data").read_bytes(),
            log=print,
            most_bytes=8000 if key == "b" else 2000,
        )
        names = {path.name for path in (home / "shelf").iterdir()}
        # The newest stays, whatever its size.
        assert names == {"a": {"a"}, "b": {"a", "b"}, "c": {"c"}}[key]


def _make_slowly(made: str) -> None:
    def make() -> str:
        Path(made, str(os.getpid())).touch()
        time.sleep(0.3)
        return "x"

    def save(text: str, folder: Path) -> None:
        (folder / "text").write_text(text)

    kept("shelf", "a", make=make, save=save, load=lambda f: (f / "text").read_text(), log=print)


def test_processes_wait_for_the_one_that_makes_it(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_make_slowly, args=(str(made),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(list(made.iterdir())) == 1
