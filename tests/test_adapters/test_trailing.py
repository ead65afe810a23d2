"""The dynamic stage by trailing directions: the rule, one event, a run."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import nn
from trainer_models import LAYERS, batches, llama, texts, trainer

from hydra_mobile.adapters import DynamicConfig, Hydra, HydraCallback
from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.dynamic.trailing import Tails, drawn_drop, exchanges
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.lora_layers import lora_tensors
from hydra_mobile.adapters.probe_loop import ProbeLoop
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ConfigError

#: (outputs, inputs) by kind, of four layers.
SHAPES = dict.fromkeys("qkvo", (32, 32)) | {"gate": (88, 32), "up": (88, 32), "down": (32, 88)}
SHAPE = {f"layers.{i}.{kind}": shape for i in range(4) for kind, shape in SHAPES.items()}
NAMES = list(SHAPE)
COST = {name: sum(shape) for name, shape in SHAPE.items()}
BUDGET = Budget(COST, 8)
GRID = Grid(2, 2, 16)
UNIFORM = dict.fromkeys(NAMES, 8)


def drawn(seed: int, spread: float) -> dict[str, list[float]]:
    rng = random.Random(seed)
    return {
        n: sorted((rng.lognormvariate(0, spread) for _ in range(8)), reverse=True) for n in NAMES
    }


def moved(spectrum, margin=16.0, ranks=UNIFORM):
    worth = Tails(spectrum, GRID.step).worth
    return exchanges(ranks, worth, BUDGET, GRID, margin=margin, share=0.1)


class TestTheRule:
    def test_noise_moves_nothing(self):
        """Spectra of random B A: at most one event of twenty may move."""
        torch.manual_seed(0)
        acted = 0
        for _ in range(100):
            spectrum = {
                name: torch.linalg.svdvals(torch.randn(out, 8) @ torch.randn(8, into))[:8].tolist()
                for name, (out, into) in SHAPE.items()
            }
            acted += bool(moved(spectrum).made)
        assert acted <= 5

    def test_rank_goes_where_the_last_directions_are_worth_most(self):
        flat, steep = [1.0] * 8, [3.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01]
        found = moved({name: flat if ".0." in name else steep for name in NAMES})
        assert found.made
        assert all(".0." in e.target for e in found.made)
        assert all(".0." not in s for e in found.made for s in e.sources)
        assert all(e.ratio >= 16 for e in found.made)

    @pytest.mark.parametrize("margin", [1.0, 4.0, 16.0])
    def test_the_budget_the_grid_and_the_share_hold(self, margin):
        for seed in range(20):
            found = moved(drawn(seed, 3.0), margin)
            assert BUDGET.cost_of(found.ranks) <= BUDGET.reference
            assert all(2 <= r <= 16 and r % 2 == 0 for r in found.ranks.values())
            given = [2 * COST[e.target] for e in found.made]
            # No exchange begins once the share is given.
            assert sum(given[:-1]) < 0.1 * BUDGET.reference
            gained = {n for n in NAMES if found.ranks[n] > 8}
            assert not gained & {s for e in found.made for s in e.sources}

    def test_a_smaller_margin_moves_more(self):
        counts = [len(moved(drawn(3, 1.0), margin).made) for margin in (1.0, 16.0, 1e6)]
        assert counts[0] > counts[2] == 0
        assert counts[0] >= counts[1]

    def test_scaling_a_kind_changes_nothing(self):
        spectrum = drawn(1, 2.0)
        louder = {n: [s * (100 if n.endswith(".k") else 1) for s in v] for n, v in spectrum.items()}
        assert moved(spectrum).made
        assert moved(spectrum).ranks == moved(louder).ranks

    def test_what_is_unspent_pays_without_a_margin(self):
        found = moved(drawn(0, 0.1) | {NAMES[0]: [1.0, 1.0]}, ranks=UNIFORM | {NAMES[0]: 2})
        assert found.made[0].sources == ()
        assert math.isinf(found.made[0].ratio)

    def test_it_says_what_it_refused(self):
        found = moved(drawn(0, 0.1))
        assert not found.made
        assert found.refused is not None
        assert 1 < found.refused.ratio < 16


class TestRandomMoves:
    def test_they_drop_as_much_of_modules_that_are_drawn(self):
        smaller = {NAMES[0]: 4, NAMES[5]: 6}
        dropped = 4 * COST[NAMES[0]] + 2 * COST[NAMES[5]]
        seen = set()
        for seed in range(20):
            found = drawn_drop(UNIFORM, smaller, BUDGET, GRID, random.Random(seed))
            assert found == drawn_drop(UNIFORM, smaller, BUDGET, GRID, random.Random(seed))
            assert all(2 <= rank < 8 and rank % 2 == 0 for rank in found.values())
            own = sum((8 - rank) * COST[name] for name, rank in found.items())
            assert dropped <= own < dropped + 2 * max(COST.values())
            seen |= set(found)
        assert len(seen) > len(NAMES) / 2

    def test_what_cannot_shrink_is_not_drawn(self):
        least = dict.fromkeys(NAMES, 2)
        more = least | {NAMES[1]: 6}
        wanted = {NAMES[1]: 2}
        found = drawn_drop(more, wanted, BUDGET, GRID, random.Random(0))
        assert found == wanted
        assert drawn_drop(least, {NAMES[0]: 0}, BUDGET, GRID, random.Random(0)) == {}


class TestTheSchedule:
    def test_four_events(self):
        found = Schedule.of_run(600, DynamicConfig())
        assert found.events == (120, 180, 240, 300)
        assert found.warmup_end == 60

    def test_a_short_run_has_none(self):
        assert Schedule.of_run(299, DynamicConfig()).events == ()
        assert Schedule.of_run(300, DynamicConfig()).events == (60, 90, 120, 150)

    def test_wrong_shares_are_refused(self):
        with pytest.raises(ConfigError, match="shares"):
            DynamicConfig(events=(0.2, 1.5))


class Still:
    """A stepper that takes no steps."""

    def held_out_losses(self, step):
        return iter([1.0])

    def resized(self):
        pass


@pytest.fixture
def adapted(model, budget):
    inject(model, RankMap(dict.fromkeys(budget.cost, 8)), r_ref=8, alpha_ref=16)
    torch.manual_seed(1)
    with torch.no_grad():
        for _, b in lora_tensors(model).values():
            b.normal_()
    optimizer = torch.optim.AdamW(lora_parameters(model).values())
    return ProbeLoop(model, budget, optimizer, Still()), model


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in lora_parameters(model).items()}


def assert_same(left: nn.Module | dict, right: nn.Module | dict) -> None:
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


class TestTheLoop:
    def test_spectra_are_those_of_the_update(self, adapted):
        loop, model = adapted
        for name, values in loop.spectra().items():
            a, b = lora_tensors(model)[name]
            whole = torch.linalg.svdvals(2.0 * (b @ a).double())
            assert values == pytest.approx(whole[:8].tolist(), rel=1e-4)

    def test_truncation_is_exact_and_leaves_no_trace(self, adapted, names):
        loop, model = adapted
        before, spectrum = state_of(model), loop.spectra()[names[0]]
        a, b = lora_tensors(model)[names[0]]
        whole = (b @ a).detach().clone()
        with loop.truncated({names[0]: 5}):
            dropped = 2.0 * float((whole - (b @ a).detach()).norm())
        assert dropped == pytest.approx(math.hypot(*spectrum[5:]), rel=1e-4)
        assert_same(before, state_of(model))


def trained(model: nn.Module, folder, dynamic, **more):
    hydra = Hydra(model, r_ref=4, alpha_ref=8, targets=LAYERS, dynamic=dynamic)
    trainer(model, folder, [HydraCallback(hydra, **more)]).train()
    hydra.budget.check_live(model)
    return hydra, RankHistory.of_run(folder).read()


class TestUnderTheTrainer:
    def test_it_needs_no_batches(self, tmp_path):
        every = DynamicConfig(events=(0.34, 0.5, 0.67), margin=1, least_steps=0)
        hydra, events = trained(llama(), tmp_path, every)
        assert [e.step for e in events if e.event == "move"] == [4, 6, 8]
        assert len(set(hydra.rank_map.values())) > 1
        assert all(e.prediction["exchanges"] for e in events if e.event == "move")
        assert "times what was given up" in events[1].reason

    def test_a_harmful_event_is_undone(self, tmp_path):
        """A loss that rises with what is dropped keeps ranks and weights as uniform LoRA's."""
        model = llama()
        sizes = []

        def loss(own, batch):
            sizes.append(sum(float((b @ a).norm()) for a, b in lora_tensors(own).values()))
            # The first look at an event is at the whole update.
            return torch.tensor(1.0 if sizes[-1] >= sizes[0] * (1 - 1e-9) else 10.0)

        once = DynamicConfig(events=(0.5,), margin=1, least_steps=0)
        held_out = batches(texts())[20:23]
        hydra, events = trained(model, tmp_path / "a", once, held_out=held_out, loss_fn=loss)
        assert set(hydra.rank_map.values()) == {4}
        (undone,) = [e for e in events if e.event == "abstain"]
        assert "undone" in undone.reason
        assert undone.realised["undone"]
        plain = llama()
        trained(plain, tmp_path / "b", DynamicConfig())
        assert_same(state_of(model), state_of(plain))

    def test_a_short_run_says_so(self, tmp_path):
        _, events = trained(llama(), tmp_path, DynamicConfig())
        assert [e.event for e in events] == ["initial", "abstain"]
        assert "too short" in events[1].reason
