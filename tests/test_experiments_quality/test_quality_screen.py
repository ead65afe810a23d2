"""The screen of tasks: it finds the best rates, its verdict is the gain of twice the rank."""

import json
import math
from pathlib import Path

import pytest

from experiments.quality import phone_book
from experiments.quality.screen import Cell, Place, next_cell, overrides, summary
from hydra_mobile.config import load_config
from hydra_mobile.data.llava import iter_llava

PLACE = Place("phone_book", 150, 8, (2, 4))


def loss(cell: Cell, gain: float) -> float:
    """Twice the rank lowers the loss by `gain`, at half of the best rate, which is 8e-3."""
    doublings = math.log2(cell.rank / 2)
    away = abs(math.log2(cell.rate / 8e-3) + doublings)
    return 0.7 * (1 - gain) ** doublings * (1 + 0.1 * away) * (1 + 0.01 * cell.seed)


def screened(gain: float, most: int = 99) -> dict[Cell, float]:
    """Run the screen on planted losses."""
    losses: dict[Cell, float] = {}
    for rank in PLACE.ranks:
        while (cell := next_cell(PLACE, rank, 2, losses)) and len(losses) < most:
            assert cell not in losses
            losses[cell] = loss(cell, gain)
    return losses


def test_every_run_is_a_configuration_of_plain_lora():
    for cell in screened(0.1):
        ranks = load_config(None, overrides(cell, Path("data"), "base")).ranks
        assert ranks.policy == "uniform"
        assert ranks.r_ref == cell.rank
        assert ranks.alpha_ref == 2 * cell.rank


def test_the_best_rate_has_worse_ones_on_either_side_and_all_seeds():
    losses = screened(0.1)
    rates = {cell.rate for cell in losses if (cell.rank, cell.seed) == (2, 0)}
    assert rates == {2e-3, 4e-3, 8e-3, 16e-3}
    assert {cell.rate for cell in losses if (cell.rank, cell.seed) == (2, 1)} == {8e-3, 4e-3}


@pytest.mark.parametrize(("gain", "worth"), [(0.02, False), (0.08, True)])
def test_ranks_are_compared_at_their_best_rates(gain, worth):
    low, high = summary(screened(gain))
    assert (low["rank"], high["rank"]) == (2, 4)
    assert (low["best_rate"], high["best_rate"]) == (8e-3, 4e-3)
    assert low["worth_comparing"] is None
    assert high["gain_over_half_the_rank"] == pytest.approx(gain)
    assert high["worth_comparing"] == worth


def test_half_a_screen_is_summed_up_too():
    (row,) = summary(screened(0.1, most=4))
    assert row["seeds"] == 1
    assert row["gain_over_half_the_rank"] is None


def test_a_phone_book_is_text_that_nothing_else_tells(tmp_path):
    data = phone_book.build(tmp_path / "book")
    records = list(iter_llava(data / "train.json"))
    assert len(records) == phone_book.PAIRS
    assert all(record.image is None for record in records)
    value = json.loads((data / "train.json").read_text())
    names, numbers = zip(
        *([turn["value"] for turn in record["conversations"]] for record in value), strict=True
    )
    assert len(set(names)) == phone_book.PAIRS
    assert all(number.isdigit() and len(number) == phone_book.DIGITS for number in numbers)
    assert phone_book.build(tmp_path / "book") == data
