"""The dynamic stage acts on a planted need and keeps still where there is none."""

import pytest
import torch

from experiments.planted_need.trailing import train
from experiments.planted_need.world import World
from experiments.shared.paired import relative

#: Not those of `trailing.json`.
SEEDS = range(13, 17)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def outcomes(kind: str, *arms: str):
    found = train([World(kind, seed) for seed in SEEDS], 600, ("uniform", *arms))
    losses = {arm: [o["loss"] for o in by_seed.values()] for arm, by_seed in found.items()}
    moves = {arm: [o["moves"] for o in by_seed.values()] for arm, by_seed in found.items()}
    return losses, moves


@pytest.mark.slow  # 600 steps of eight students
def test_it_acts_where_needs_differ():
    losses, moves = outcomes("heterogeneous", "trailing")
    assert all(moves["trailing"])
    assert relative(losses["trailing"], losses["uniform"]).mean < -0.10


@pytest.mark.slow  # 600 steps of twelve students
def test_it_keeps_still_where_needs_are_equal_and_a_margin_of_one_does_not():
    losses, moves = outcomes("homogeneous", "trailing", "margin_1")
    assert sum(map(bool, moves["trailing"])) <= 1
    assert relative(losses["trailing"], losses["uniform"]).mean <= 0.02
    # So that this test can fail.
    assert relative(losses["margin_1"], losses["uniform"]).mean > 0.10
