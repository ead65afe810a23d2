"""The performance model inside the dynamic stage: what it measures, when it decides, its words."""

from __future__ import annotations

import json
import math
import random
from contextlib import contextmanager

import pytest

from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.dynamic.settings import DynamicConfig
from hydra_mobile.adapters.dynamic.trailing_controller import TrailingController
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.rank_map import RankMap

KINDS = ("q_proj", "v_proj", "up_proj", "down_proj")
NAMES = [f"layers.{i}.{kind}" for i in range(6) for kind in KINDS]
BUDGET = Budget(dict.fromkeys(NAMES, 64), 8)
STEPS = 600
#: Loss without a direction, over its energy.
SENSITIVITY = dict(zip(KINDS, (1.0, 100.0, 0.01, 1.0), strict=True))


class Loop:
    """A model whose held-out loss is what its truncated directions cost."""

    def __init__(self, sensitivity=SENSITIVITY) -> None:
        self.sensitivity = sensitivity
        self.ranks = dict.fromkeys(NAMES, 8)
        self.forwards = 0
        self._lost = 0.0

    def spectra(self):
        rng = random.Random(0)
        return {
            n: sorted((rng.lognormvariate(0, 0.3) for _ in range(rank)), reverse=True)
            for n, rank in self.ranks.items()
        }

    def held_out_losses(self, step, batches):
        self.forwards += batches
        return [1.0 + self._lost + 0.01 * i for i in range(batches)]

    @contextmanager
    def truncated(self, ranks):
        spectra = self.spectra()
        self._lost = sum(
            1e-6 * self.sensitivity[n.rpartition(".")[2]] * sum(s * s for s in spectra[n][rank:])
            for n, rank in ranks.items()
        )
        yield
        self._lost = 0.0

    def resize(self, rank_map, step, shrink=None):
        self.ranks = dict(rank_map)


def controller(log, settings, **more):
    return TrailingController(
        RankMap(dict.fromkeys(NAMES, 8)),
        BUDGET,
        Grid(2, 2, 16),
        Schedule.of_run(STEPS, settings),
        settings,
        log.append,
        policy="hydra",
        **{"held_out_batches": 4, **more},
    )


@pytest.fixture(scope="module")
def ran():
    events, loop = [], Loop()
    decides = controller(events, DynamicConfig(model="drop_cost", undo=False))
    for step in range(1, STEPS + 1):
        decides.after_step(step, loop)
    return events, loop


def of_kind(events, kind):
    return [e for e in events if e["event"] == kind]


def test_it_decides_once_it_ranks_better_than_the_rule(ran):
    events, _ = ran
    by = [e["prediction"]["by"] for e in events if "prediction" in e]
    assert by[0] == "rule"
    assert by[-1] == "model"
    made = [x for e in of_kind(events, "move") for x in e["prediction"]["exchanges"]]
    assert {x["to"].rpartition(".")[2] for x in made} == {"v_proj"}
    assert not any("v_proj" in source for x in made for source in x["from"])


def test_it_costs_at_most_two_per_cent_of_the_steps(ran):
    events, loop = ran
    assert loop.forwards == sum(e["forwards"] for e in of_kind(events, "observe"))
    assert 0 < loop.forwards / 3 <= 0.02 * STEPS


def test_the_history_has_what_it_said_and_what_came_true(ran, tmp_path):
    events, _ = ran
    history = RankHistory(tmp_path / "ranks.jsonl")
    for event in events:
        history.append(event)
    observed = [e for e in history.read() if e.event == "observe"]
    last = observed[-1].extra
    assert last["model"]["takes_over"]
    assert last["model"]["spearman"] > last["model"]["rule_spearman"]
    errors = [abs(math.log(o["expected"] / o["rise"])) for o in last["outcomes"] if o["rise"] > 0]
    assert sorted(errors)[len(errors) // 2] < 1.0
    assert "performance model" in observed[0].reason
    moved = [e for e in history.read() if e.event == "move"]
    assert "performance model" in moved[-1].reason
    assert moved[-1].prediction["expected_rise"] > 0


def test_a_run_that_goes_on_from_its_state_decides_the_same(ran):
    events, _ = ran
    again, loop = [], Loop()
    settings = DynamicConfig(model="drop_cost", undo=False)
    decides = controller(again, settings)
    for step in range(1, STEPS + 1):
        decides.after_step(step, loop)
        if step == 200:
            state = json.loads(json.dumps(decides.state()))
            decides = controller(again, settings)
            decides.load(state)
    assert again == events


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        (DynamicConfig(model="off", undo=False), {}),
        (DynamicConfig(model="drop_cost", undo=False), {"held_out_batches": 0}),
        # A forward pass costs a step: too few cells fit into 2% to be compared.
        (DynamicConfig(model="drop_cost", undo=False), {"forward_steps": 1.0}),
    ],
)
def test_without_it_nothing_is_measured(settings, more):
    events, loop = [], Loop()
    decides = controller(events, settings, **more)
    for step in range(1, STEPS + 1):
        decides.after_step(step, loop)
    assert not of_kind(events, "observe")
    assert loop.forwards == 0
    assert {e["prediction"]["by"] for e in events if "prediction" in e} == {"rule"}


def test_an_event_says_what_as_many_random_moves_would_have_done():
    events, loop = [], Loop(dict.fromkeys(KINDS, 1.0))
    decides = controller(events, DynamicConfig(margin=1, events=(0.3, 0.4)), seed=3)
    for step in range(1, STEPS + 1):
        decides.after_step(step, loop)
    moved = of_kind(events, "move")
    assert len(moved) == 2
    # Three losses of four micro-batches an event.
    assert loop.forwards == 3 * 4 * 2
    assert loop.forwards / 3 <= 0.02 * STEPS
    for event in moved:
        realised = event["realised"]
        # The least directions cost less than drawn ones.
        assert 0 < realised["rise"] < realised["rise_at_random"]
        assert "(as many random moves: +" in event["reason"]
    assert moved[0]["realised"]["rise_at_random"] != moved[1]["realised"]["rise_at_random"]


def test_a_check_that_can_pay_for_two_losses_compares_with_nothing():
    events, loop = [], Loop()
    # Four events of a run of 600 steps have nine forward passes each; these are twice as dear.
    decides = controller(events, DynamicConfig(margin=1), forward_steps=2 / 3)
    for step in range(1, STEPS + 1):
        decides.after_step(step, loop)
    moved = of_kind(events, "move")
    assert loop.forwards == 2 * 2 * len(moved) > 0
    assert not any("rise_at_random" in e["realised"] for e in moved)
