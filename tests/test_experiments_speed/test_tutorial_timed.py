"""The tutorial's commands, and the data on which they are timed."""

from __future__ import annotations

from pathlib import Path

from experiments.quickstart.tutorial import PAGE, commands, draw, render
from hydra_mobile.data.llava import read_llava


def test_every_step_of_the_tutorial_is_timed():
    verbs = [words[1] for words in commands(PAGE.read_text(encoding="utf-8"))]
    for verb in ("data", "train", "export", "verify", "evaluate", "chat"):
        assert verb in verbs
    assert "app" not in verbs


def test_the_drawn_records_are_read_and_leave_six_for_the_test(tmp_path: Path):
    draw(tmp_path / "mine")
    records = read_llava(tmp_path / "mine" / "train.jsonl")
    assert len(records) == 20
    assert all(record.image.is_file() for record in records)
    assert len((tmp_path / "mine" / "test.jsonl").read_text().splitlines()) == 6


def test_the_table_ends_with_the_sum():
    rows = [{"command": "hydra-mobile data check", "seconds": 2.4}]
    assert render({"commands": rows, "seconds": 2.4}).splitlines()[-1] == "| all | 2 |"
