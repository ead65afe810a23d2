import numpy as np
import pytest

from hydra_mobile.benchmarks.shared.statistics import bootstrap_interval, paired_bootstrap


def test_independent_values_give_the_binomial_interval() -> None:
    correct = [1.0] * 300 + [0.0] * 100
    interval = bootstrap_interval(correct, list(range(400)))
    error = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert interval.value == 0.75
    assert interval.low == pytest.approx(0.75 - error, abs=0.01)
    assert interval.high == pytest.approx(0.75 + error, abs=0.01)
    assert (interval.n, interval.clusters) == (400, 400)


def test_clusters_widen_the_interval_by_the_root_of_their_size() -> None:
    correct = np.repeat([1.0] * 60 + [0.0] * 40, 4)
    alone = bootstrap_interval(correct, list(range(400)))
    together = bootstrap_interval(correct, [i // 4 for i in range(400)])
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(2, rel=0.15)


def test_same_seed_same_interval_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    correct = np.random.default_rng(1).random(50) < 0.4
    labels = [f"c{i % 20}" for i in range(50)]
    first = bootstrap_interval(correct, labels, seed=3)
    assert bootstrap_interval(correct, labels, seed=3) == first
    assert bootstrap_interval(correct, labels, seed=4) != first
    monkeypatch.setattr("hydra_mobile.benchmarks.shared.statistics._BLOCK", 200)
    assert bootstrap_interval(correct, labels, seed=3) == first


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_is_no_certainty(value: float) -> None:
    interval = bootstrap_interval([value] * 40, [i // 2 for i in range(40)])
    assert interval.value == value
    assert interval.low < interval.high
    assert 0 <= interval.low <= value <= interval.high <= 1


def test_pairing_sees_a_difference_that_two_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.5
    better = hard | (rng.random(400) < 0.08)
    labels = list(range(400))
    difference = paired_bootstrap(better, hard, labels)
    assert difference.low > 0
    assert difference.p < 0.01
    one, other = bootstrap_interval(better, labels), bootstrap_interval(hard, labels)
    assert one.low < other.high


def test_no_difference_is_not_significant() -> None:
    values = [1.0, 0.0] * 20
    difference = paired_bootstrap(values, values, list(range(40)))
    assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cluster labels"):
        bootstrap_interval([1.0, 0.0, 1.0], ["a", "b"])
    with pytest.raises(ValueError, match="pairs are needed"):
        paired_bootstrap([1.0], [1.0, 0.0], ["a"])
    with pytest.raises(ValueError, match="expected n >= 1"):
        bootstrap_interval([], [])
