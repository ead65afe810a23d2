"""The screen of tasks: its runs are configurations, its verdict is the gain of twice the rank."""

import math
from pathlib import Path

import pytest

from experiments.quality.screen import RATES, Cell, cells, overrides, summary
from hydra_mobile.config import load_config


def test_every_run_is_a_configuration_of_plain_lora():
    wanted = cells(["emojiqa"], 500, 2)
    assert len({cell.name for cell in wanted}) == len(wanted) == 24
    for cell in (wanted[0], wanted[-1]):
        ranks = load_config(None, overrides(cell, Path("work"), Path("base"))).ranks
        assert ranks.policy == "uniform"
        assert ranks.r_ref == cell.rank
        assert ranks.alpha_ref == 2 * cell.rank


def losses(gain: float) -> dict[Cell, float]:
    """Return losses that twice the rank lowers by `gain`, at another best rate."""
    found = {}
    for cell in cells(["emojiqa"], 500, 2):
        doublings = math.log2(cell.rank / 2)
        away = abs(RATES.index(cell.rate) - (2 - doublings))
        found[cell] = 0.7 * (1 - gain) ** doublings * (1 + 0.1 * away) * (1 + 0.01 * cell.seed)
    return found


@pytest.mark.parametrize(("gain", "worth"), [(0.02, False), (0.08, True)])
def test_ranks_are_compared_at_their_best_rates(gain, worth):
    rows = summary(losses(gain))
    assert [row["rank"] for row in rows] == [2, 4, 8]
    assert [row["best_rate"] for row in rows] == ["1e-3", "5e-4", "2.5e-4"]
    assert rows[0]["worth_comparing"] is None
    assert rows[1]["gain_over_half_the_rank"] == pytest.approx(gain)
    assert [row["worth_comparing"] for row in rows[1:]] == [worth, worth]


def test_half_a_screen_is_summed_up_too():
    done = dict(list(losses(0.1).items())[:5])
    (row,) = summary(done)
    assert row["runs"] == 5
    assert row["gain_over_half_the_rank"] is None
