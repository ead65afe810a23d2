"""Intervals over clusters, as scores and pairs of scores have them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pytest
from numpy.typing import ArrayLike

from hydra_mobile.benchmarks.metric import paired, share
from hydra_mobile.benchmarks.types import Score


def interval(values: ArrayLike, clusters: Sequence[Hashable], seed: int = 0) -> Score:
    return share("all", "all", values, clusters).score(seed=seed)


def test_independent_values_give_the_binomial_interval() -> None:
    found = interval([1.0] * 300 + [0.0] * 100, list(range(400)))
    error = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - error, abs=0.01)
    assert found.high == pytest.approx(0.75 + error, abs=0.01)
    assert found.n == 400


def test_clusters_widen_the_interval_by_the_root_of_their_size() -> None:
    correct = np.repeat([1.0] * 60 + [0.0] * 40, 4)
    alone = interval(correct, list(range(400)))
    together = interval(correct, [i // 4 for i in range(400)])
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(2, rel=0.15)


def test_same_seed_same_interval_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    correct = np.random.default_rng(1).random(50) < 0.4
    labels = [f"c{i % 20}" for i in range(50)]
    first = interval(correct, labels, seed=3)
    assert interval(correct, labels, seed=3) == first
    assert interval(correct, labels, seed=4) != first
    monkeypatch.setattr("hydra_mobile.benchmarks.shared.statistics._BLOCK", 200)
    assert interval(correct, labels, seed=3) == first


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_is_no_certainty(value: float) -> None:
    found = interval([value] * 40, [i // 2 for i in range(40)])
    assert found.value == value
    assert found.low < found.high
    assert 0 <= found.low <= value <= found.high <= 1


def test_pairing_sees_a_difference_that_two_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.5
    better = hard | (rng.random(400) < 0.08)
    labels = list(range(400))
    one, other = (share("all", "all", values, labels) for values in (better, hard))
    difference = paired(one, other)
    assert difference.low > 0
    assert difference.p < 0.01
    assert one.score().low < other.score().high
