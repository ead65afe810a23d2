"""Numbers as functions of sums: the value, its interval, and pairs of systems."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_mobile.benchmarks.metric import Metric, paired, ratio, scores_of, share
from hydra_mobile.benchmarks.shared.statistics import resampled_sums

RNG = np.random.default_rng(0)
RIGHT = (RNG.random(300) < 0.7).astype(float)
CLUSTERS = [n // 3 for n in range(300)]


def f1(sums: np.ndarray) -> np.ndarray:
    return 2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1])


def test_a_share_is_the_mean_with_the_quantiles_of_its_draws() -> None:
    score = share("seen", "all", RIGHT, CLUSTERS, majority=0.5, unread=2, headline=True).score()
    sums = resampled_sums(np.stack([RIGHT, np.ones(300)], axis=1), CLUSTERS)
    ends = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
    assert score.value == RIGHT.mean()
    assert [score.low, score.high] == pytest.approx(ends)
    assert (score.n, score.majority, score.unread, score.headline) == (300, 0.5, 2, True)
    assert score.unit == "share"


def test_a_ratio_of_sums_is_combined_in_every_draw() -> None:
    terms = np.stack([RIGHT, 1 - RIGHT], axis=1)
    metric = Metric("a", "f1", terms, CLUSTERS, combine=f1)
    draws = f1(resampled_sums(terms, CLUSTERS))
    assert metric.value == pytest.approx(2 * RIGHT.sum() / (300 + RIGHT.sum()))
    assert metric.score().low == pytest.approx(np.quantile(draws, 0.025))
    assert metric.score().low < metric.value < metric.score().high


def test_strata_keep_their_sizes_in_every_draw() -> None:
    # Two strata with values that never vary inside: nothing is left to chance within strata.
    values, strata = [1.0] * 30 + [0.0] * 10, ["a"] * 30 + ["b"] * 10
    terms = np.stack([np.array(values), np.ones(40)], axis=1)
    within = Metric("x", "all", terms, list(range(40)), strata).score()
    assert within.low == within.value == within.high == 0.75
    free = Metric("x", "all", terms, list(range(40))).score()
    assert free.low < 0.75 < free.high


def test_equal_labels_in_two_strata_are_two_clusters() -> None:
    terms = np.eye(4)[:, :2]
    sums = resampled_sums(terms, ["p", "p", "p", "p"], ["a", "a", "b", "b"], resamples=5)
    assert (sums == [1, 1]).all()


def test_all_right_is_no_certainty_for_a_share_but_points_have_no_such_interval() -> None:
    sure = share("a", "all", [1.0] * 20, list(range(20))).score()
    assert sure.value == sure.high == 1
    assert 0.8 < sure.low < 0.9
    points = Metric("a", "all", np.ones((20, 2)), list(range(20)), unit="points").score()
    assert (points.low, points.high, points.unit) == (1, 1, "points")


def test_nothing_to_divide_by_is_zero() -> None:
    assert ratio(np.array([[1.0, 0.0], [1.0, 2.0]])).tolist() == [0.0, 0.5]


def test_scores_together_are_those_of_each_alone() -> None:
    terms = np.stack([RIGHT, 1 - RIGHT], axis=1)
    metrics = [
        share("a", "all", RIGHT, CLUSTERS),
        share("a", "half", RIGHT[:150], CLUSTERS[:150]),
        Metric("a", "f1", terms, CLUSTERS, combine=f1),
        Metric("a", "strata", terms, CLUSTERS, [n % 3 for n in range(300)], combine=f1),
        share("b", "none", np.zeros(300), CLUSTERS),
    ]
    assert scores_of(metrics) == [metric.score() for metric in metrics]


def test_pairs_use_the_same_draws() -> None:
    better = np.maximum(RIGHT, RNG.random(300) < 0.1)
    a, b = share("s", "all", better, CLUSTERS), share("s", "all", RIGHT, CLUSTERS)
    difference = paired(a, b)
    draws = resampled_sums(np.stack([better - RIGHT], axis=1), CLUSTERS)[:, 0] / 300
    assert difference.value == pytest.approx((better - RIGHT).mean())
    ends = np.quantile(draws, [0.025, 0.975])
    assert [difference.low, difference.high] == pytest.approx(ends)
    assert (difference.p, difference.n, difference.clusters) == (1 / 2000, 300, 100)
    assert difference.low > 0
    same = paired(a, a)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_other_questions_are_no_pair() -> None:
    a = share("s", "all", RIGHT, CLUSTERS)
    with pytest.raises(ValueError, match="same questions"):
        paired(a, share("s", "all", RIGHT, list(range(300))))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="n >= 1"):
        share("s", "all", [], [])
    with pytest.raises(ValueError, match=r"2 rows.* 1 labels"):
        share("s", "all", [1.0, 0.0], ["a"])
