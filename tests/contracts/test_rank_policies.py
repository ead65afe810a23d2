"""What every rank policy promises, through the engine in a plain training loop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from trainer_models import LAYERS, batches, llama, texts

from hydra_mobile.adapters import DynamicConfig, Hydra
from hydra_mobile.adapters.integrations.batch_stepper import BatchStepper
from hydra_mobile.adapters.lora import extract_state, lora_parameters
from hydra_mobile.adapters.lora_layers import lora_layers
from hydra_mobile.adapters.policies import POLICIES, policy_named
from hydra_mobile.adapters.probe_loop import ProbeLoop
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.save_load import read_adapter

STEPS = 12
DYNAMIC = DynamicConfig(
    target="paired_probe",
    warmup=0.34,
    every=0.17,
    until=0.7,
    probe_steps=2,
    candidates=1,
    probe_share=3.0,
)
#: At this margin every event moves.
TRAILING = DynamicConfig(events=(0.34, 0.5, 0.67), margin=1, least_steps=0, undo=False)
#: What of a module falls with its rank is part of the name.
MOVING = ["hydra trailing", *(f"hydra trailing {falls}" for falls in ("scale", "rate", "both"))]
BATCHES = batches(texts())


@dataclass
class Run:
    """A training run in progress.

    Attributes:
        counts: LoRA parameters that trained in each step.
        events: what the engine recorded.
    """

    hydra: Hydra
    optimizer: torch.optim.Optimizer
    counts: list[int]
    events: list[dict[str, Any]]

    @classmethod
    def of(cls, hydra: Hydra) -> Run:
        model = hydra.model
        optimizer = torch.optim.AdamW(lora_parameters(model).values(), lr=5e-3)
        events: list[dict[str, Any]] = []
        hydra.begin(STEPS, events.append, held_out_batches=2, incumbent_trains=False)
        stepper = BatchStepper(
            model, optimizer, probe_batches=BATCHES[20:24], held_out=BATCHES[24:26]
        )
        loop = ProbeLoop(
            model,
            hydra.budget,
            optimizer,
            stepper,
            seed=hydra.seed,
            compensate=hydra.compensate,
        )
        hydra.attach(loop)
        return cls(hydra, optimizer, [], events)

    def train(self, start: int, until: int) -> None:
        model = self.hydra.model.train()
        for step in range(start, until):
            self.hydra.before_step(step)
            model(**BATCHES[step]).loss.backward()
            self.hydra.after_backward(step, "text")
            trained = [p for p in model.parameters() if p.grad is not None]
            self.counts.append(sum(p.numel() for p in trained))
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.hydra.after_step(step + 1)
            self.hydra.budget.check_live(model)

    @property
    def tensors(self) -> dict[str, Tensor]:
        return extract_state(self.hydra.model)


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Hydra]:
    """Make an engine on a fresh model, with everything that a policy may ask for."""
    names = Hydra(llama(), r_ref=4, alpha_ref=8, targets=LAYERS, policy="uniform").rank_map
    file = tmp_path_factory.mktemp("ranks") / "rank_map.json"
    RankMap({name: 2 + i % 3 for i, name in enumerate(names)}).write(file)

    def hydra(policy: str) -> Hydra:
        name, _, more = policy.partition(" ")
        return Hydra(
            llama(),
            r_ref=4,
            alpha_ref=8,
            targets=LAYERS,
            policy=name,
            calibration_batches=4,
            map_file=file,
            seed=3,
            dropout=0.1,
            dynamic=TRAILING if more else DYNAMIC,
            compensate=more.removeprefix("trailing").strip() or "neither",
        )

    return hydra


@pytest.fixture(scope="module", params=[*POLICIES, *MOVING])
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(policy: str, make: Callable[[str], Hydra]) -> Run:
    run = Run.of(make(policy))
    torch.manual_seed(7)
    run.hydra.start()
    run.train(0, STEPS)
    return run


def test_it_is_within_the_budget_at_every_step(policy: str, whole: Run) -> None:
    assert len(whole.counts) == STEPS
    assert 0 < max(whole.counts) <= whole.hydra.budget.reference
    assert all(event["parameters"] <= event["reference"] for event in whole.events)
    assert whole.events[0]["event"] == "initial"
    # Whoever needs importance has got it, and the others did not wait.
    allocated = [event["step"] for event in whole.events if event["event"] == "allocate"]
    # (`hydra` begins with a map that follows importance where it probes.)
    needs = policy == "hydra" or (" " not in policy and policy_named(policy).needs_importance)
    assert bool(allocated) == needs
    moved = [event["step"] for event in whole.events if event["event"] == "move"]
    assert moved == ([4, 6, 8] if policy in MOVING else [])
    assert not whole.hydra.waits


def test_the_same_seed_gives_the_same_ranks_and_weights(
    policy: str, whole: Run, make: Callable[[str], Hydra]
) -> None:
    again = Run.of(make(policy))
    torch.manual_seed(7)
    again.hydra.start()
    again.train(0, STEPS)
    assert again.hydra.rank_map.digest() == whole.hydra.rank_map.digest()
    assert_same(again.tensors, whole.tensors)


@pytest.mark.parametrize("at", [3, 4, 7])  # in the warm-up, at its end, between events
def test_a_resumed_run_is_bit_identical(
    policy: str, at: int, whole: Run, make: Callable[[str], Hydra], tmp_path: Path
) -> None:
    first = Run.of(make(policy))
    torch.manual_seed(7)
    first.hydra.start()
    first.train(0, at)
    first.hydra.write_checkpoint(tmp_path, at)
    state, random_state = copy.deepcopy(first.optimizer.state_dict()), torch.get_rng_state()

    second = Run.of(Hydra.from_checkpoint(llama(), tmp_path))
    assert second.hydra.restored is not None
    second.hydra.load(second.hydra.restored["progress"])
    second.optimizer.load_state_dict(state)
    torch.set_rng_state(random_state)
    second.train(at, STEPS)
    assert second.hydra.rank_map == whole.hydra.rank_map
    assert_same(second.tensors, whole.tensors)
    digests = [event["digest"] for event in first.events + second.events]
    assert digests == [event["digest"] for event in whole.events]


def test_the_scale_is_that_of_the_rank(policy: str, whole: Run) -> None:
    power = {"scale": 1, "rate": 2, "both": 3}.get(policy.split()[-1], 0)
    for name, layer in lora_layers(whole.hydra.model).items():
        expected = 2.0 * (4 / whole.hydra.rank_map[name]) ** power
        assert layer.scaling["default"] == pytest.approx(expected, rel=1e-12), name
    assert len(set(whole.hydra.rank_map.values())) > 1 or policy not in MOVING


def test_merging_adds_what_was_trained(whole: Run, tmp_path: Path) -> None:
    whole.hydra.save(tmp_path / "adapter", base_name="tiny")
    read = read_adapter(tmp_path / "adapter")
    for name, layer in lora_layers(whole.hydra.model).items():
        live = layer.get_delta_weight("default")
        assert (read.delta(name) - live).abs().max() <= 1e-6 * live.abs().max(), name


def test_stock_peft_loads_the_adapter(whole: Run, tmp_path: Path) -> None:
    whole.hydra.save(tmp_path / "adapter", base_name="tiny")
    loaded = PeftModel.from_pretrained(llama(), tmp_path / "adapter").eval()
    with torch.no_grad():
        theirs, ours = loaded(**BATCHES[0]).logits, whole.hydra.model.eval()(**BATCHES[0]).logits
        plain = llama().eval()(**BATCHES[0]).logits
    assert torch.allclose(theirs, ours, atol=1e-6)
    assert not torch.allclose(plain, ours, atol=1e-3)
