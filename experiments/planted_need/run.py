"""Do moving ranks find a planted need for rank, and do they keep still where there is none?

Trains every arm of `arms.py` in a world whose linears need very different ranks and in a
homogeneous one (the negative control: there no arm may win by its ranks), at an equal parameter
budget on the same data, seed by seed. Prints the paired differences from uniform LoRA with their
95% intervals and writes JSON with every single result.

The whole of it, ten seeds in each world, is about 60,000 steps of a tiny model: quarter of an hour
on a thread of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.planted_need import world as planted_world
from experiments.planted_need.arms import ARMS, LONGER, Outcome, Recipe, run
from experiments.planted_need.loop import ledger
from experiments.planted_need.world import KINDS, World, cost_of_needs
from experiments.shared.paired import difference, relative
from hydra_mobile.adapters.allocate_layers import layer_scores
from hydra_mobile.adapters.dynamic.gate import MOST_CHANCE
from hydra_mobile.core.files import write_json
from hydra_mobile.reporting import environment

REFERENCE = "uniform"


def run_seed(kind: str, seed: int, arms: list[str], recipe: Recipe) -> dict[str, Any]:
    """Return one seed's outcomes, by arm, with what was planted."""
    world = World(kind, seed)
    budget = ledger(world)
    outcomes: dict[str, Outcome] = {}
    for arm in arms:
        steps = outcomes["hydra"].charged_steps if arm == LONGER else None
        outcomes[arm] = run(arm, world, recipe, steps)
        if outcomes[arm].highest_parameters > budget.reference:
            raise RuntimeError(f"{arm} trained more than the {budget.reference:,} of the budget")
    needs = [world.needs[name] for name in world.names]
    share = cost_of_needs(needs, list(budget.cost.values())) / budget.reference
    return {
        "seed": seed,
        "modules": list(budget.cost),
        "reference_parameters": budget.reference,
        "needs": needs,
        "needs_of_budget": round(share, 3),
        "arms": {arm: _facts(outcome, list(budget.cost)) for arm, outcome in outcomes.items()},
    }


def summarize(seeds: list[dict[str, Any]], arms: list[str]) -> dict[str, dict[str, Any]]:
    """Return means, paired differences from uniform, and what hydra did, by arm."""
    losses = {arm: [s["arms"][arm]["loss"] for s in seeds] for arm in arms}
    summary: dict[str, dict[str, Any]] = {}
    for arm in arms:
        own = [s["arms"][arm] for s in seeds]
        row: dict[str, Any] = {"loss": float(np.mean(losses[arm]))}
        for key in ("steps", "probe_steps", "charged_steps", "seconds", "wall_seconds"):
            row[f"mean_{key}"] = float(np.mean([outcome[key] for outcome in own]))
        if arm != REFERENCE and len(seeds) > 1:
            nats = difference(losses[arm], losses[REFERENCE])
            share = relative(losses[arm], losses[REFERENCE])
            row["minus_uniform"], row["relative_to_uniform"] = vars(nats), vars(share)
            same = nats.verdict == share.verdict
            row["verdict"] = nats.verdict if same else "depends on the scale"
        if own[0]["importance"]:
            row["importance_and_need"] = _agreement(seeds, arm)
        if arm == "hydra":
            counts = {k: sum(o["events"].get(k, 0) for o in own) for k in ("move", "abstain")}
            rank_events = sum(counts.values())
            row["moves"] = counts["move"]
            row["abstention_rate"] = counts["abstain"] / rank_events if rank_events else None
            if "coarse_fine" in losses and len(seeds) > 1:
                row["minus_coarse_fine"] = vars(difference(losses[arm], losses["coarse_fine"]))
            if LONGER in losses and len(seeds) > 1:
                row["relative_to_uniform_longer"] = vars(relative(losses[arm], losses[LONGER]))
        summary[arm] = row
    return summary


def print_table(kind: str, summary: dict[str, dict[str, Any]]) -> None:
    print(f"\n{kind}: final held-out loss (1e-3 nats) against uniform LoRA, paired, 95% intervals")
    print(f"{'arm':<15}{'loss':>7}{'minus uniform':>22}{'relative, %':>23}{'steps':>7}{'cpu s':>7}")
    for arm, row in summary.items():
        print(
            f"{arm:<15}{1e3 * row['loss']:>7.1f}{_interval(row.get('minus_uniform'), 1e3):>22}"
            f"{_interval(row.get('relative_to_uniform'), 1e2):>23}{row['mean_steps']:>7.0f}"
            f"{row['mean_seconds']:>7.1f}  {row.get('verdict', '')}"
        )
    for arm in ("coarse_fine", "by_change"):
        agreement = summary.get(arm, {}).get("importance_and_need")
        if agreement and agreement["linears"] is not None:
            print(
                f"importance of {arm} and planted need, Spearman: "
                f"{agreement['linears']:+.2f} over linears, {agreement['layers']:+.2f} over layers"
            )
    if hydra := summary.get("hydra"):
        print(
            f"hydra: {hydra['moves']} moves, abstained at {100 * hydra['abstention_rate']:.0f}% "
            f"of its events, {hydra['mean_probe_steps']:.0f} probe steps a run"
        )


def _interval(found: dict[str, float] | None, unit: float) -> str:
    if found is None:
        return ""
    mean, low, high = (unit * found[key] for key in ("mean", "low", "high"))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def spearman(x: list[float], y: list[float]) -> float:
    """Return the rank correlation, ties sharing their mean rank; NaN where one is constant."""
    ranks = [_ranks(values) for values in (x, y)]
    if any(len(set(r)) < 2 for r in ranks):
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: list[float]) -> list[float]:
    return [sum(w < v for w in values) + (values.count(v) - 1) / 2 for v in values]


def _agreement(seeds: list[dict[str, Any]], arm: str) -> dict[str, float | None]:
    """Return the mean rank correlation of importance and need; None where needs are equal."""
    found: dict[str, list[float]] = {"linears": [], "layers": []}
    for seed in seeds:
        scores, needs, names = seed["arms"][arm]["importance"], seed["needs"], seed["modules"]
        found["linears"].append(spearman(scores, needs))
        of_layer = layer_scores(dict(zip(names, scores, strict=True)))
        need_of = layer_scores({n: math.sqrt(r) for n, r in zip(names, needs, strict=True)})
        found["layers"].append(spearman(list(of_layer.values()), list(need_of.values())))
    means = {level: float(np.mean(values)) for level, values in found.items()}
    return {level: None if math.isnan(value) else value for level, value in means.items()}


def _facts(outcome: Outcome, names: list[str]) -> dict[str, Any]:
    """Return an outcome as JSON values; ranks and importance in the order of `names`."""
    facts = dataclasses.asdict(outcome)
    facts["ranks"] = [outcome.ranks.get(name, 0) for name in names]
    facts["importance"] = [outcome.importance[n] for n in names] if outcome.importance else None
    return facts


def _short(seed: dict[str, Any]) -> dict[str, Any]:
    """Return a seed's outcomes for the file: a list by linear is one line of text."""
    short = {key: value for key, value in seed.items() if key != "modules"}
    short["needs"] = " ".join(map(str, seed["needs"]))
    short["arms"] = {}
    for arm, outcome in seed["arms"].items():
        facts = {key: value for key, value in outcome.items() if value not in ({}, [])}
        facts["ranks"] = " ".join(map(str, outcome["ranks"]))
        importance = facts.pop("importance")
        if arm in ("coarse_fine", "by_change"):
            facts["importance"] = " ".join(f"{score:.4g}" for score in importance)
        if "gains" in facts:
            facts["gains"] = " ".join(f"{gain:.3g}" for gain in facts["gains"])
        short["arms"][arm] = facts
    return short


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--out", type=Path, default=Path("experiments/planted_need/result.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe(steps=arguments.steps)
    # The order of ARMS: `uniform_longer` comes after `hydra`, whose steps it takes.
    arms = [arm for arm in ARMS if arm in {*arguments.arms, REFERENCE}]
    if LONGER in arms and "hydra" not in arms:
        parser.error(f"{LONGER} needs hydra")
    facts = environment.collect()
    seeds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    began = time.monotonic()
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for kind in KINDS:
            seeds[kind].append(run_seed(kind, seed, arms, recipe))
            losses = {arm: o["loss"] for arm, o in seeds[kind][-1]["arms"].items()}
            line = ", ".join(f"{arm} {loss:.4f}" for arm, loss in losses.items())
            print(f"{time.monotonic() - began:6.0f} s  {kind} {seed}: {line}", flush=True)
        # After every seed: a run that is cut short leaves whole seeds.
        summaries = {kind: summarize(seeds[kind], arms) for kind in KINDS}
        write_json(
            arguments.out,
            {
                "what": "held-out divergence from a teacher with planted low-rank deltas, "
                "nats per token, at equal LoRA parameters; differences are paired by seed",
                "interval": "95%, Student's t over seeds, not corrected for the number of arms",
                "settings": dataclasses.asdict(recipe) | {"most_chance": MOST_CHANCE},
                "world": _world_settings(),
                "environment": vars(facts),
                "threads": 1,
                "wall_seconds": round(time.monotonic() - began, 1),
                "modules": World(KINDS[0], 0).names,
                "summary": summaries,
                "seeds": {kind: [_short(seed) for seed in found] for kind, found in seeds.items()},
            },
        )
    for kind, summary in summaries.items():
        print_table(kind, summary)
    print(f"\nwritten to {arguments.out}")


def _world_settings() -> dict[str, Any]:
    names = ("LAYER_NEEDS", "MODULE_FACTORS", "HIGHEST_NEED", "STRENGTH", "BATCH", "LENGTH")
    settings = {name.lower(): getattr(planted_world, name) for name in names}
    return settings | {"r_ref": World.r_ref, "held_out_sequences": planted_world.HELD_OUT}


if __name__ == "__main__":
    main()
