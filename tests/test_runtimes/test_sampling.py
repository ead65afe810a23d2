from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hydra_mobile.core.errors import HydraError
from hydra_mobile.runtimes.sampling import Sampler

#: Probabilities 1/2, 1/4, 1/8, 1/8 at temperature 1.
LOGITS = np.log(np.array([4, 1, 2, 1], dtype=np.float32) / 8)


def draws(sampler: Sampler, count: int = 4000) -> Counter[int]:
    return Counter(sampler(LOGITS) for _ in range(count))


def test_without_temperature_the_largest_is_taken() -> None:
    assert draws(Sampler(0.0, 0.5, seed=3), 10) == {0: 10}


def test_tokens_are_drawn_by_their_probabilities() -> None:
    found = draws(Sampler(1.0))
    for token, share in enumerate((0.5, 0.125, 0.25, 0.125)):
        assert found[token] / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    # The token with which the sum reaches top_p belongs to them.
    [(0.4, {0}), (0.5, {0}), (0.51, {0, 2}), (0.75, {0, 2}), (0.8, {0, 1, 2}), (1.0, {0, 1, 2, 3})],
)
def test_top_p_keeps_the_fewest_that_sum_to_it(top_p: float, kept: set[int]) -> None:
    assert set(draws(Sampler(1.0, top_p))) == kept


def test_a_temperature_of_two_takes_roots_of_the_odds() -> None:
    found = draws(Sampler(2.0))
    # Weights 2, 1, sqrt 2, 1.
    assert found[0] / 4000 == pytest.approx(2 / (4 + 2**0.5), abs=0.03)


def test_equal_seeds_draw_the_same() -> None:
    one, other, third = (Sampler(1.0, seed=seed) for seed in (7, 7, 8))
    drawn = [[sampler(LOGITS) for _ in range(30)] for sampler in (one, other, third)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(HydraError, match=next(iter(wrong))):
        Sampler(**wrong)
