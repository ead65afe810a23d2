"""The table and the choice of questions of `experiments/training_speed`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.training_speed.run import WAYS, write_questions
from experiments.training_speed.table import PEER, UNIFORM, ratios, render


def _row(number: int, way: str, speed: float, **more: Any) -> dict[str, Any]:
    row = {"round": number, "way": way, "questions_per_second": speed, "with_features": speed / 2}
    return {**row, "step_seconds": [15 / speed] * 3, "peak_bytes": 2**30, "loss": 1.25, **more}


@pytest.fixture
def result() -> dict[str, Any]:
    rows = [
        _row(0, PEER, 2.0),
        _row(0, UNIFORM, 6.0),
        _row(0, "ours, HyDRA", 5.0),
        # Everything takes twice as long in the second round; ratios must not see it.
        _row(1, PEER, 1.0),
        _row(1, UNIFORM, 3.0),
        _row(1, "ours, HyDRA", 2.5),
    ]
    return {
        "protocol": {"steps": 5, "batch": 15, "rank": 16, "threads": 2, "rounds": 2},
        "rows": rows,
    }


def test_ratios_are_taken_within_a_round(result: dict[str, Any]) -> None:
    assert ratios(result, UNIFORM, PEER, "questions_per_second") == [3.0, 3.0]
    assert ratios(result, "nobody", PEER, "questions_per_second") == []


def test_the_table(result: dict[str, Any]) -> None:
    lines = render(result).splitlines()
    cells = [cell.strip() for cell in lines[-1].split("|")[1:-1]]
    assert cells == [
        "ours, HyDRA",
        "3.75 [2.50, 5.00]",
        "2.50 [2.50, 2.50]",
        "1.88 [1.25, 2.50]",
        "2.50 [2.50, 2.50]",
        "4.50",
        "1.20 [1.20, 1.20]",
        "1024",
        "1.25",
    ]


def test_whole_pictures_are_asked_about(tmp_path: Path) -> None:
    records = [
        {"image": f"images/{picture}.png", "conversations": [question]}
        for question in range(4)
        for picture in range(5)
    ]
    (tmp_path / "train_stage2.json").write_text(json.dumps(records))
    assert write_questions(tmp_path, tmp_path / "out.json", 11) == 8
    chosen = json.loads((tmp_path / "out.json").read_text())
    assert [Path(record["image"]).name for record in chosen] == ["0.png"] * 4 + ["1.png"] * 4
    assert all(Path(record["image"]).is_absolute() for record in chosen)


def test_what_the_ratios_are_taken_to_is_measured() -> None:
    assert {PEER, UNIFORM} <= WAYS.keys()
