"""Tables of the comparison: the interval is paired."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.quality.table import cells_of, table, worth_of_budget


def result(
    right: dict[str, list[str]], losses: dict[str, list[float]] | None = None
) -> dict[str, Any]:
    """Return a result with a run for each string of marks: six questions, two pictures."""
    runs = [
        {
            "task": "t",
            "setting": "low",
            "arm": arm,
            "seed": seed,
            "splits": {
                "seen": {"right": marks, "loss": losses[arm][seed] if losses else 1.0},
            },
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


@pytest.mark.parametrize(("seeds", "told"), [(3, "-10.0% [-10.0, -10.0]"), (2, "-10.0%")])
def test_losses_are_compared_seed_by_seed(seeds: int, told: str) -> None:
    marks = ["110100", "101010", "111000"][:seeds]
    # A tenth less for each: the seeds' own difference does not widen the interval.
    losses = {"uniform": [1.0, 2.0, 4.0], "x": [0.9, 1.8, 3.6]}
    value = result({"uniform": marks, "x": marks}, losses)
    value["config"] = {"settings": {"low": {"r_ref": 2}}}
    for run in value["runs"]:
        run["parameters"] = {"lora": 8}
    mean = sum(losses["x"][:seeds]) / seeds
    assert f"| x | {seeds} | {mean:.3f}, {told} |" in table(value, "t", "low")


def test_what_a_larger_budget_is_worth() -> None:
    value = result({"uniform": ["110000", "101000"]})
    settings = {"low": {"r_ref": 2}, "moderate": {"r_ref": 16}}
    value["config"] = {"settings": settings}
    assert worth_of_budget(value, "t") is None
    more = result({"uniform": ["111000", "101010"]})["runs"]
    value["runs"] += [{**run, "setting": "moderate"} for run in more]
    told = worth_of_budget(value, "t")
    assert told is not None
    assert "rank 16 over rank 2, 8 times the parameters: seen +50.0%" in told


def test_runs_scored_in_different_precisions_are_not_compared() -> None:
    value = result({"uniform": ["110100"], "x": ["111100"]})
    value["runs"][1]["scored_in"] = "bf16"
    with pytest.raises(ValueError, match="scored in"):
        cells_of(value, "t", "low")
