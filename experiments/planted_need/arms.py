"""What each arm does with the same data, the same start, the same schedule and the same budget.

All arms but `adalora` begin as uniform LoRA. At the end of the warm-up the arms with a map of their
own change to it: those that need importance take it from the backward passes just made, the
controls `random` and `planted` change at the same step, so that arms differ in the map and not in
when it came. `hydra` then goes on with the dynamic stage.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch

from experiments.planted_need.loop import (
    HELD_OUT_BATCHES,
    HELD_OUT_STEPS,
    SCALE,
    Distilled,
    Student,
    learning_rate,
    ledger,
)
from experiments.planted_need.world import World
from hydra_mobile.adapters.adalora import AdaLora
from hydra_mobile.adapters.allocate import project
from hydra_mobile.adapters.dynamic.cells import groups_of
from hydra_mobile.adapters.dynamic.probe_controller import ProbeController
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.dynamic.settings import DynamicConfig
from hydra_mobile.adapters.importance import BackwardImportance
from hydra_mobile.adapters.policies import PolicyInput, allocate
from hydra_mobile.adapters.rank_map import RankMap

ARMS = (
    "uniform",
    "coarse",
    "coarse_fine",
    "hydra",
    "random",
    "reversed",
    "adalora",
    "uniform_longer",
    "by_change",
    "planted",
)
"""`uniform_longer` is uniform LoRA with as many steps as `hydra` and its probes cost together.
`by_change` is `coarse_fine` with another importance: the norm of s B A that the warm-up learned,
in place of the gradient's. It is exploratory: added after the gradient's norm was seen to follow
the depth of the layers and not their need, on seeds that the experiment does not use.
`planted` is told the needs that were planted; it is no method, it says what there is to gain."""


RULES = {
    "hydra": "coarse_fine_per_cost",
    "coarse_fine": "coarse_fine_per_cost",
    "coarse": "coarse_kmeans",
}
"""Policies that these arms stand for: the stages as they were when the results were made, `hydra`
with its probes. `trailing.py` has the dynamic stage as it is."""
LONGER = "uniform_longer"


@dataclass(frozen=True)
class Recipe:
    """Settings that all arms share; the dynamic ones concern `hydra` only."""

    steps: int = 200
    peak: float = 2e-2
    rank_step: int = 2
    r_min: int = 2
    warmup: float = 0.10
    watched: int = 16
    every: float = 0.05
    until: float = 0.70
    probe_steps: int = 10
    candidates: int = 4
    probe_share: float = 3.0

    @property
    def schedule(self) -> Schedule:
        """When ranks may move."""
        return Schedule.of(self.steps, self.warmup, self.every, self.until)


@dataclass(frozen=True)
class Outcome:
    """One arm in one world.

    Attributes:
        loss: on the fixed held-out set at the end, nats per token.
        steps: optimizer steps, probes included.
        probe_steps: those of probes.
        charged_steps: all steps and the held-out losses of probes, in steps.
        seconds: processor time of the one thread, making the data excluded: what wall time is on a
            machine that does nothing else.
        wall_seconds: wall time on the machine as it was.
        highest_parameters: most trained parameters at any step.
        ranks: the map at the end.
        events: how many of each kind the controller recorded.
        gains: held-out gains that the probes observed.
        reasons: why it abstained, with how often.
        importance: score of each linear at the end of the warm-up.
    """

    loss: float
    steps: int
    probe_steps: int
    charged_steps: int
    seconds: float
    wall_seconds: float
    highest_parameters: int
    ranks: dict[str, int]
    events: dict[str, int] = field(default_factory=dict)
    gains: list[float] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    importance: dict[str, float] = field(default_factory=dict)


class _Clock:
    def __init__(self) -> None:
        self._wall, self._processor = time.monotonic(), time.process_time()

    def seconds(self) -> dict[str, float]:
        wall, processor = time.monotonic() - self._wall, time.process_time() - self._processor
        return {"seconds": round(processor, 2), "wall_seconds": round(wall, 2)}


def run(arm: str, world: World, recipe: Recipe, steps: int | None = None) -> Outcome:
    """Train one arm and return what came out.

    Args:
        arm: one of `ARMS`.
        world: base, teacher and data.
        recipe: the shared settings.
        steps: steps of arm `uniform_longer`; the others take those of the recipe.
    """
    total = steps if steps and arm == LONGER else recipe.steps
    for step in range(total):
        world.batch(step)
    began = _Clock()
    if arm == "adalora":
        return _run_adalora(world, recipe, began)
    policy = "uniform" if arm == LONGER else arm
    budget = ledger(world)
    names = list(budget.cost)
    first = RankMap(dict.fromkeys(names, budget.r_ref))
    student = Student(world, first, total, recipe.peak)
    events: list[dict[str, Any]] = []
    controller = ProbeController(
        first,
        budget,
        _inputs(world, recipe, None).grid,
        groups_of(names),
        recipe.schedule,
        DynamicConfig(
            target="paired_probe",
            probe_steps=recipe.probe_steps,
            candidates=recipe.candidates,
            probe_share=recipe.probe_share,
        ),
        events.append,
        policy=policy,
        seed=world.seed,
        active=policy == "hydra",
        forward_steps=HELD_OUT_STEPS / HELD_OUT_BATCHES,
        held_out_batches=HELD_OUT_BATCHES,
    )
    watching = BackwardImportance(student.model, names)
    warmup_end = recipe.schedule.warmup_end
    for step in range(total):
        watched = warmup_end - recipe.watched <= step < warmup_end
        if watched:
            watching.watch()
        student.step(step, (lambda: watching.take("text")) if watched else (lambda: None))
        done = step + 1
        if done == warmup_end:
            watching.rest()
            importance = watching.result().mean_of_norms
            controller.regroup(groups_of(names, importance))
            if policy == "planted":
                rank_map = _planted(world, recipe)
            elif policy == "by_change":
                importance = student.change()
                rank_map = allocate(RULES["coarse_fine"], _inputs(world, recipe, importance))
            else:
                rule = RULES.get(policy, policy)
                rank_map = allocate(rule, _inputs(world, recipe, importance))
            controller.put(rank_map, done, "allocate", f"ranks of {policy}", student.loop)
        controller.after_step(done, student.loop)
    return _outcome(student, controller, events, importance, began)


def _outcome(
    student: Student,
    controller: ProbeController,
    events: list[dict[str, Any]],
    importance: dict[str, float],
    began: _Clock,
) -> Outcome:
    return Outcome(
        loss=student.final_loss(),
        steps=student.taken,
        probe_steps=controller.spent_steps,
        charged_steps=student.taken + math.ceil(student.judged * HELD_OUT_STEPS),
        **began.seconds(),
        highest_parameters=student.highest_parameters,
        ranks=dict(controller.rank_map),
        events=dict(Counter(event["event"] for event in events)),
        gains=[e["realised"]["gain"] for e in events if "realised" in e],
        importance=importance,
        reasons=dict(Counter(e["reason"] for e in events if e["event"] == "abstain")),
    )


def _inputs(world: World, recipe: Recipe, importance: dict[str, float] | None) -> PolicyInput:
    return PolicyInput(
        budget=ledger(world),
        importance=importance,
        rank_step=recipe.rank_step,
        r_min=recipe.r_min,
        seed=world.seed,
    )


def _planted(world: World, recipe: Recipe) -> RankMap:
    """Return the planted needs, brought into the grid and the budget."""
    inputs = _inputs(world, recipe, None)
    budget = inputs.budget
    wishes = {f"language_model.{name}": float(rank) for name, rank in world.needs.items()}
    grids = dict.fromkeys(wishes, inputs.grid)
    return budget.rank_map(project(wishes, budget.cost, budget.reference, grids))


def _run_adalora(world: World, recipe: Recipe, began: _Clock) -> Outcome:
    """Train peft's AdaLoRA, whose masked triplets count as trained."""
    budget = ledger(world)
    model = Distilled(world.student())
    adalora = AdaLora.build(
        model,
        list(budget.cost),
        budget,
        alpha_ref=SCALE * budget.r_ref,
        total_steps=recipe.steps,
        warmup_share=recipe.warmup,
        final_share=1.0 - recipe.until,
        seed=world.seed,
    )
    parameters = list(adalora.parameters().values())
    optimizer = torch.optim.AdamW(parameters, lr=recipe.peak, weight_decay=0.0, fused=True)
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe.peak, step, recipe.steps)
        adalora.model(*world.batch(step)).loss.backward()
        optimizer.step()
        adalora.update(step + 1)
        optimizer.zero_grad()
    held = adalora.held()
    ranks = adalora.to_lora()
    with torch.no_grad():
        value = float(model(*world.held_out).loss)
    return Outcome(
        loss=value,
        steps=recipe.steps,
        probe_steps=0,
        charged_steps=recipe.steps,
        **began.seconds(),
        highest_parameters=held,
        ranks=dict(ranks),
    )
