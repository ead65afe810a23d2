"""The stacked students of the planted worlds are the product's, a change of ranks included."""

import pytest
import torch

from experiments.planted_need.loop import Student, ledger
from experiments.planted_need.stacked import PREFIX, Data, Students
from experiments.planted_need.world import World
from hydra_mobile.adapters.rank_map import RankMap


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("kind", "compensate"),
    [
        ("heterogeneous", "neither"),
        ("heterogeneous", "scale"),
        ("heterogeneous", "rate"),
        ("heterogeneous", "both"),
        ("changing", "neither"),
        ("correlated", "neither"),
    ],
)
def test_a_stacked_student_is_the_products(kind, compensate):
    # Compensation is written twice: here by learning rates, in the product by sizes of tensors.
    worlds = [World(kind, seed, 24) for seed in (3, 4)]
    students = Students(Data(worlds), [0, 1], 24, 2e-2, [compensate] * 2)
    ours = Student(
        worlds[1], RankMap(dict.fromkeys(ledger(worlds[1]).cost, 8)), 24, 2e-2, compensate
    )
    for step in range(12):
        ours.step(step)
    students.train(12)
    theirs, spectra = students.spectrum(1), ours.loop.spectra()
    for name, values in theirs.items():
        assert spectra[PREFIX + name] == pytest.approx(values, abs=1e-4)
    names = worlds[1].names
    ranks = dict.fromkeys(names, 8) | {names[0]: 4, names[3]: 12, names[4]: 6, names[11]: 10}
    ours.loop.resize(RankMap({PREFIX + m: rank for m, rank in ranks.items()}), 12, "svd")
    students.resize(1, ranks)
    assert students.held_out()[1] == pytest.approx(ours.final_loss(), rel=1e-4)
    for step in range(12, 24):
        ours.step(step)
    students.train(24)
    assert students.held_out()[1] == pytest.approx(ours.final_loss(), rel=1e-3)
