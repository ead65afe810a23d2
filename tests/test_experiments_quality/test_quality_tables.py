"""Tables of the comparison: the interval is paired."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.quality.tables import cells_of


def result(right: dict[str, list[str]]) -> dict[str, Any]:
    """Return a result with a run for each string of marks: six questions, two pictures."""
    runs = [
        {
            "task": "t",
            "setting": "low",
            "arm": arm,
            "seed": seed,
            "splits": {"seen": {"right": marks}},
        }
        for arm, seeds in right.items()
        for seed, marks in enumerate(seeds)
    ]
    return {"questions": {"t": {"seen": {"pictures": "0 0 0 1 1 1"}}}, "runs": runs}


def test_accuracy_and_gain() -> None:
    cells = cells_of(
        result({"uniform": ["110100", "100000"], "x": ["111100", "110000"]}), "t", "low"
    )
    assert cells.accuracy("uniform", "seen") == pytest.approx([50, 100 / 6])
    gain = cells.gain("x", "seen")
    assert gain is not None
    assert gain[0] == pytest.approx(50)
    assert gain[3] == 2


def test_an_arm_equal_to_the_reference_gains_nothing_whatever_is_drawn() -> None:
    marks = ["110100", "101010", "000111"]
    gain = cells_of(result({"uniform": marks, "x": marks}), "t", "low").gain("x", "seen")
    # Unpaired, the interval would be as wide as the spread of seeds.
    assert gain == (0, 0, 0, 3)


def test_only_seeds_that_both_have_are_compared() -> None:
    cells = cells_of(result({"uniform": ["111111"], "x": ["111000", "111111"]}), "t", "low")
    gain = cells.gain("x", "seen")
    assert gain is not None
    assert (gain[0], gain[3]) == (pytest.approx(-50), 1)
    assert cells_of(result({"x": ["111111"]}), "t", "low").gain("x", "seen") is None
