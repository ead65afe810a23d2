"""Which folder of benchmark data a command takes where none is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmark_tree import PICTURES, build_tree
from benchmark_tree import emojiqa as write_emojiqa

from hydra_mobile.cli.benchmark_data import data_folder

Verb = Callable[..., tuple[int, str, str]]


def test_emojiqa_is_found_although_there_is_a_folder_of_other_benchmarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_verb: Verb
) -> None:
    monkeypatch.chdir(tmp_path)
    build_tree(tmp_path / "benchmark_data", PICTURES, questions=6)
    write_emojiqa(tmp_path / "data" / "emojiqa", PICTURES)
    code, out, err = run_verb("benchmarks", "check", "emojiqa")
    assert code == 0, out + err
    assert data_folder(None, ("pope",)) == Path("benchmark_data")
    # Where that folder has EmojiQA too, it is the one.
    write_emojiqa(tmp_path / "benchmark_data" / "emojiqa", PICTURES)
    assert data_folder(None, ("emojiqa",)) == Path("benchmark_data")
