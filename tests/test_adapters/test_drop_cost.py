"""The performance model of the dynamic stage: what leaving out last directions costs."""

from __future__ import annotations

import json
import math
import random

import pytest

from hydra_mobile.adapters.dynamic.drop_cost import (
    Cycle,
    Outcome,
    Statistics,
    fit,
    observed,
)
from hydra_mobile.adapters.dynamic.trailing import Tails

KINDS = ("q_proj", "v_proj", "up_proj", "down_proj")
NAMES = [f"layers.{i}.{kind}" for i in range(6) for kind in KINDS]
RANKS = dict.fromkeys(NAMES, 8)
#: What a parameter of a kind is worth in loss, which the spectrum does not tell.
SENSITIVITY = dict(zip(KINDS, (1.0, 30.0, 0.1, 1.0), strict=True))


def statistics(rng: random.Random) -> Statistics:
    spectrum = {
        n: sorted((rng.lognormvariate(0, 0.5) for _ in range(8)), reverse=True) for n in NAMES
    }
    return Statistics(Tails(spectrum, 2), RANKS)


def outcomes(seed: int, events: int, cells: int, truth) -> list[Outcome]:
    """Measure `cells` cells at every event; `truth(rng, name, rule)` is the rise a parameter."""
    rng, found = random.Random(seed), []
    cycle = Cycle(NAMES, seed)
    for event in range(events):
        known = statistics(rng)
        for cell, modules in cycle.due(len(found), cells):
            rise = sum(10 * truth(rng, n, math.exp(known.rule(n, 8))) for n in modules)
            parameters = dict.fromkeys(NAMES, 10)
            found.append(observed(100 * event, cell, modules, known, RANKS, parameters, rise))
    return found


def by_kind(rng, name, rule):
    kind = name.rpartition(".")[2]
    return 1e-6 * SENSITIVITY[kind] * rule * rng.lognormvariate(0, 0.3)


def by_rule(rng, name, rule):
    return 1e-6 * rule * rng.lognormvariate(0, 0.3)


def nothing(rng, name, rule):
    return rng.gauss(0, 1e-6)


class TestTakesOver:
    def test_where_kinds_differ_in_what_the_spectrum_does_not_tell(self):
        model = fit(outcomes(0, 4, 8, by_kind))
        assert model.passed
        assert model.spearman > model.rule_spearman + 0.05
        known = statistics(random.Random(9))
        low, high = (
            sum(
                math.log(model.loss_per_parameter(known, n, 8)) - known.rule(n, 8)
                for n in NAMES
                if kind in n
            )
            for kind in ("up_proj", "v_proj")
        )
        assert high - low > 6 * math.log(10)

    def test_its_level_is_that_of_the_measured_loss(self):
        found = outcomes(1, 4, 12, by_rule)
        model, known = fit(found), statistics(random.Random(9))
        ratios = [model.loss_per_parameter(known, n, 8) / math.exp(known.rule(n, 8)) for n in NAMES]
        assert 0.3e-6 < sorted(ratios)[len(ratios) // 2] < 3e-6

    def test_not_where_the_rule_ranks_as_well(self):
        took = [fit(outcomes(seed, 4, 8, by_rule)).passed for seed in range(20)]
        assert sum(took) <= 1

    def test_not_on_noise(self):
        models = [fit(outcomes(seed, 4, 8, nothing)) for seed in range(100)]
        assert sum(m.passed for m in models) <= 5

    @pytest.mark.parametrize(("events", "cells"), [(1, 12), (2, 7)])
    def test_not_from_few_outcomes(self, events, cells):
        model = fit(outcomes(0, events, cells, by_kind))
        assert not model.passed
        assert model.spearman is None
        assert "needed" in model.reason


class TestOutcomes:
    def test_all_cells_come_in_turn(self):
        cycle = Cycle(NAMES, 3)
        labels = [cell for start in (0, 5, 10) for cell, _ in cycle.due(start, 5)]
        assert len(set(labels[:12])) == len(cycle.cells) == 12
        assert labels[12:] == labels[:3]
        assert Cycle(NAMES, 4).cells != cycle.cells
        assert sorted(n for _, modules in cycle.cells for n in modules) == sorted(NAMES)

    def test_they_survive_json_and_order_does_not_matter(self):
        found = outcomes(0, 3, 8, by_kind)
        read = [Outcome.from_json(json.loads(json.dumps(o.to_json()))) for o in found]
        assert read == found
        assert fit(read) == fit(found)

    def test_an_outcome_that_is_not_finite_does_not_count(self):
        found = outcomes(0, 3, 8, by_kind)
        broken = Outcome(**{**vars(found[0]), "rise": math.nan})
        assert fit([*found, broken]) == fit(found)

    def test_no_effect_at_all_leaves_it_to_the_rule(self):
        model = fit(outcomes(0, 3, 8, lambda *_: 0.0))
        assert not model.passed
        assert "nothing" in model.reason
