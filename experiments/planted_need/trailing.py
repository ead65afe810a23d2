"""Does the dynamic stage act where a need was planted, and keep still where none was?

Trains arms of the product's own dynamic stage in planted worlds, at equal parameters on the same
data, one thread, seeds that chose no constant. Every outcome is written at once, and a run that was
cut short goes on where it ended:

    python -m experiments.planted_need.trailing                  # everything, in order of priority
    python -m experiments.planted_need.trailing --only heterogeneous:600
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.planted_need.loop import HELD_OUT_BATCHES
from experiments.planted_need.stacked import R_REF, Data, StudentLoop, Students
from experiments.planted_need.world import World
from experiments.shared.paired import relative
from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.dynamic.settings import DynamicConfig
from hydra_mobile.adapters.dynamic.trailing import Exchange, Plan
from hydra_mobile.adapters.dynamic.trailing_controller import TrailingController
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.files import write_json
from hydra_mobile.reporting import environment

OUT = Path("experiments/planted_need/trailing.json")
GRID = Grid(2, 2, 16)
PEAK = 2e-2
RULE = DynamicConfig(model="off")
FIRST_SEED = 23
SEEDS = 10


@dataclass(frozen=True)
class Arm:
    """One way to move ranks.

    Attributes:
        settings: of the dynamic stage; None: no rank moves by it.
        hold: what of a module falls as reference rank / rank, see `Students`.
        along_gradient: whether new rows of A lie along the residual gradient.
        by_kind: whether last directions are compared relative to their kind of projection.
    """

    settings: DynamicConfig | None = RULE
    hold: str = ""
    along_gradient: bool = False
    by_kind: bool = True


ARMS = {
    "uniform": Arm(None),
    "trailing": Arm(),
    "model": Arm(DynamicConfig(model="drop_cost")),
    "no_check": Arm(DynamicConfig(model="off", undo=False)),
    "no_kinds": Arm(by_kind=False),
    "no_cap": Arm(DynamicConfig(model="off", share=1.0)),
    "margin_8": Arm(DynamicConfig(model="off", margin=8)),
    "margin_1": Arm(DynamicConfig(model="off", margin=1)),
    "random_moves": Arm(None),
    "along_gradient": Arm(along_gradient=True),
    "rate_by_rank": Arm(hold="rate"),
    "scale_by_rank": Arm(hold="scale"),
    "both_by_rank": Arm(hold="both"),
}
PLACEBO = "random_moves"
HELD = ("rate_by_rank", "scale_by_rank", "both_by_rank")
OFF = ("no_kinds", "no_cap")
PLAN = (
    ("heterogeneous", 600, ("uniform", "trailing")),
    ("homogeneous", 600, ("uniform", "trailing")),
    ("homogeneous", 1200, ("uniform", "trailing")),
    ("homogeneous", 600, ("margin_1",)),
    ("heterogeneous", 600, (PLACEBO,)),
    ("changing", 600, ("uniform", "trailing")),
    ("correlated", 600, ("uniform", "trailing")),
    ("heterogeneous", 1200, ("uniform", "trailing")),
    ("heterogeneous", 600, ("model",)),
    ("homogeneous", 600, ("model",)),
    ("heterogeneous", 600, HELD),
    ("homogeneous", 600, HELD),
    ("heterogeneous", 600, ("along_gradient",)),
    ("homogeneous", 600, ("along_gradient",)),
    ("heterogeneous", 600, OFF),
    ("homogeneous", 600, OFF),
    ("heterogeneous", 1200, (PLACEBO,)),
    ("heterogeneous", 1200, HELD),
    ("correlated", 600, ("model",)),
    ("changing", 600, ("model",)),
    ("homogeneous", 1200, ("model",)),
    ("heterogeneous", 1200, ("model",)),
    ("heterogeneous", 600, ("no_check", "margin_8")),
    ("homogeneous", 600, ("margin_8", "no_check")),
)
"""(world, steps, arms) in the order in which they are run."""


Outcome = dict[str, Any]


def random_exchanges(
    count: int, ranks: Mapping[str, int], cost: Mapping[str, int], limit: int, draw: random.Random
) -> Plan:
    """Return the placebo: `count` exchanges of a grid step between modules drawn at random."""
    pending, made = dict(ranks), []
    for _ in range(count):
        able = [m for m in pending if ranks[m] <= pending[m] <= GRID.highest - GRID.step]
        target = draw.choice(able)
        trial, sources = dict(pending), []
        free = limit - sum(rank * cost[m] for m, rank in trial.items())
        while free < GRID.step * cost[target]:
            givers = [m for m in trial if m != target and GRID.lowest < trial[m] <= ranks[m]]
            source = draw.choice(givers)
            trial[source] -= GRID.step
            free += GRID.step * cost[source]
            sources.append(source)
        trial[target] += GRID.step
        pending = trial
        made.append(Exchange(target, tuple(sources), 1.0))
    return Plan(pending, tuple(made), None, "as many as trailing")


def train(
    worlds: Sequence[World],
    steps: int,
    arms: Sequence[str],
    counts: Mapping[int, Mapping[int, int]] | None = None,
) -> dict[str, dict[int, Outcome]]:
    """Train a student of every arm in every world, all from uniform ranks, side by side.

    Args:
        worlds: of different seeds.
        steps: optimizer steps.
        arms: names in `ARMS`.
        counts: of the placebo: exchanges by step, by seed.

    Returns:
        Outcomes by arm and seed.
    """
    who = [(arm, world.seed) for arm in arms for world in worlds]
    places = [w for _ in arms for w in range(len(worlds))]
    held = [ARMS[arm].hold for arm, _ in who]
    along = [s for s, (arm, _) in enumerate(who) if ARMS[arm].along_gradient]
    students = Students(Data(worlds), places, steps, PEAK, held, along)
    budget = Budget(students.cost, R_REF)
    logs: list[list[dict[str, Any]]] = [[] for _ in who]
    controllers = [
        controller(ARMS[arm], seed, steps, budget, log)
        for (arm, seed), log in zip(who, logs, strict=True)
    ]
    stops = set(Schedule.of_run(steps, DynamicConfig()).events)
    for step in sorted(stops):
        students.train(step)
        for s, (arm, seed) in enumerate(who):
            decides = controllers[s]
            if decides:
                loop = StudentLoop(students, s)
                decides.after_step(step, loop if ARMS[arm].by_kind else OneKind(loop))
            elif arm == PLACEBO and (count := (counts or {})[seed].get(step, 0)):
                draw = random.Random(f"{seed}:{step}:placebo")
                ranks = students.ranks[s]
                plan = random_exchanges(count, ranks, budget.cost, budget.reference, draw)
                students.resize(s, plan.ranks)
                said = {"exchanges": [""] * count}
                reason = f"{count} random grid steps"
                logs[s].append(
                    {"step": step, "event": "move", "reason": reason, "prediction": said}
                )
    students.train(steps)
    losses = students.held_out()
    found_by: dict[str, dict[int, Outcome]] = {arm: {} for arm in arms}
    for s, (arm, seed) in enumerate(who):
        moved = {e["step"]: e["prediction"] for e in logs[s] if e["event"] == "move"}
        exchanged = {str(step): len(said["exchanges"]) for step, said in moved.items()}
        found_by[arm][seed] = {
            "loss": losses[s],
            "moves": sum(exchanged.values()),
            "exchanges": exchanged,
            "by_model": sum(said.get("by") == "model" for said in moved.values()),
            "events": [f"{e['step']}: {e['reason']}" for e in logs[s]],
            "model": [e["model"] for e in logs[s] if e["event"] == "observe"],
            "ranks": " ".join(str(rank) for rank in students.ranks[s].values()),
        }
    return found_by


class OneKind:
    """A student all of whose linears bear one last name, so that they are one kind."""

    def __init__(self, loop: StudentLoop) -> None:
        self._loop = loop

    def spectra(self) -> dict[str, list[float]]:
        """Return the singular values of s B A by module."""
        return {_one_kind(m): values for m, values in self._loop.spectra().items()}

    def held_out_losses(self, step: int, batches: int) -> list[float]:
        """Return losses on the batches that follow the student's step."""
        return self._loop.held_out_losses(step, batches)

    def truncated(self, ranks: Mapping[str, int]) -> AbstractContextManager[None]:
        """Keep only the first directions of modules inside the block."""
        return self._loop.truncated({_own_name(m): rank for m, rank in ranks.items()})

    def resize(self, rank_map: RankMap, step: int, shrink: Any = None) -> None:
        """Bring the student to `rank_map`."""
        self._loop.resize(RankMap({_own_name(m): r for m, r in rank_map.items()}), step, shrink)


_KIND = ".linear"


def _one_kind(name: str) -> str:
    return name + _KIND


def _own_name(name: str) -> str:
    return name.removesuffix(_KIND)


def controller(
    arm: Arm,
    seed: int,
    steps: int,
    budget: Budget,
    log: list[dict[str, Any]],
) -> TrailingController | None:
    """Return the product's own controller of a run from uniform ranks; None: no rank moves."""
    if arm.settings is None:
        return None
    if not arm.by_kind:
        cost = {_one_kind(m): each for m, each in budget.cost.items()}
        budget = Budget(cost, budget.r_ref)
    return TrailingController(
        RankMap(dict.fromkeys(budget.cost, R_REF)),
        budget,
        GRID,
        Schedule.of_run(steps, arm.settings),
        arm.settings,
        log.append,
        policy="hydra",
        held_out_batches=HELD_OUT_BATCHES,
        seed=seed,
    )


def run(
    out: Path, seeds: range, plan: Sequence[tuple[str, int, tuple[str, ...]]], at_once: int
) -> None:
    """Run what is not yet in `out`, writing after every `at_once` seeds."""
    value = json.loads(out.read_text()) if out.is_file() else {"outcomes": {}}
    outcomes = value["outcomes"]
    for kind, steps, arms in plan:
        place = outcomes.setdefault(f"{kind}:{steps}", {})
        todo = [seed for seed in seeds if any(str(seed) not in place.get(arm, {}) for arm in arms)]
        for first in range(0, len(todo), at_once):
            own = todo[first : first + at_once]
            began = time.process_time()
            counts = None
            if PLACEBO in arms:
                counts = {
                    seed: {
                        int(step): count
                        for step, count in place["trailing"][str(seed)]["exchanges"].items()
                    }
                    for seed in own
                }
            found = train([World(kind, seed, steps) for seed in own], steps, arms, counts)
            for arm, by_seed in found.items():
                place.setdefault(arm, {}).update({str(k): v for k, v in by_seed.items()})
            write_json(out, _content(outcomes))
            losses = {
                arm: [f"{o['loss']:.4f} ({o['moves']})" for o in by_seed.values()]
                for arm, by_seed in found.items()
            }
            seconds = time.process_time() - began
            print(f"{kind} {steps} {own}: {losses}, {seconds:.0f} s of one core", flush=True)


def _content(outcomes: dict[str, Any]) -> dict[str, Any]:
    return {
        "what": "held-out divergence from a teacher with planted low-rank deltas, nats per token, "
        "at equal LoRA parameters; change against uniform LoRA, paired by seed, geometric mean",
        "interval": "95%, Student's t over seeds",
        "settings": {
            name: None
            if (s := arm.settings) is None
            else {"margin": s.margin, "undo": s.undo, "model": s.model, "share": s.share}
            | {"hold": arm.hold, "by_kind": arm.by_kind, "along_gradient": arm.along_gradient}
            for name, arm in ARMS.items()
        }
        | {"peak": PEAK, "events": list(DynamicConfig().events), "grid": dataclasses.asdict(GRID)},
        "environment": vars(environment.collect()),
        "summary": summary(outcomes),
        "outcomes": outcomes,
    }


def summary(outcomes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return, by world and arm, the change against uniform LoRA and how often ranks moved."""
    rows: dict[str, dict[str, Any]] = {}
    for world, arms in outcomes.items():
        for arm, own in arms.items():
            seeds = [seed for seed in own if seed in arms.get("uniform", {})]
            if arm == "uniform" or not seeds:
                continue
            losses = [own[seed]["loss"] for seed in seeds]
            reference = [arms["uniform"][seed]["loss"] for seed in seeds]
            harm = sorted(a / b - 1 for a, b in zip(losses, reference, strict=True))
            row: dict[str, Any] = {
                "seeds": len(seeds),
                "seeds_that_moved": sum(own[seed]["moves"] > 0 for seed in seeds),
                "moves_a_run": sum(own[seed]["moves"] for seed in seeds) / len(seeds),
                "median": 0.5 * (harm[(len(harm) - 1) // 2] + harm[len(harm) // 2]),
            }
            if len(seeds) > 1:
                row["relative_to_uniform"] = vars(relative(losses, reference))
            rows.setdefault(world, {})[arm] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--at-once", type=int, default=5, help="seeds trained side by side")
    parser.add_argument("--only", help="WORLD:STEPS")
    given = parser.parse_args()
    torch.set_num_threads(1)
    plan = tuple(p for p in PLAN if given.only in (None, f"{p[0]}:{p[1]}"))
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    run(given.out, seeds, plan, given.at_once)
    for world, arms in json.loads(given.out.read_text())["summary"].items():
        for arm, row in arms.items():
            print(world, arm, row)


if __name__ == "__main__":
    main()
