"""A made-up rank history of a believable shape. Only for tests: nothing here was measured.

Thirty layers of seven projections; ranks measured in a warm-up, then thirteen events, of which
most keep the map.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.rank_map import RankMap

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
# Parameters per rank of SmolLM2-135M's linears.
COST = {
    "q_proj": 1152,
    "k_proj": 768,
    "v_proj": 768,
    "o_proj": 1152,
    "gate_proj": 2112,
    "up_proj": 2112,
    "down_proj": 2112,
}
GROUPS = ("low", "middle", "high")
MOVED_AT = (3, 4, 6, 9, 10)


def module(layer: int, projection: str) -> str:
    block = "self_attn" if projection in ATTENTION else "mlp"
    return f"language_model.model.layers.{layer}.{block}.{projection}"


def cost_of(ranks: dict[str, int]) -> int:
    return sum(rank * COST[name.rsplit(".", 1)[-1]] for name, rank in ranks.items())


def group_of(layer: int, layers: int) -> str:
    return GROUPS[3 * layer // layers]


def made_events(
    layers: int = 30, r_ref: int = 16, steps: int = 400, seed: int = 0
) -> list[dict[str, Any]]:
    """Return the events of a run: initial, allocate, then thirteen times decide and observe."""
    draw = random.Random(seed)
    every, events = max(1, steps // 20), []
    ranks = {module(i, p): r_ref for i in range(layers) for p in COST}
    reference = cost_of(ranks)
    unit = max(1, r_ref // 8)

    def event(step: int, kind: str, reason: str, **more: Any) -> None:
        common = {"parameters": cost_of(ranks), "reference": reference}
        digest = RankMap(ranks).digest()
        events.append(
            {"schema": 1, "step": step, "event": kind, "policy": "hydra", "reason": reason}
            | common
            | {"digest": digest, **more}
        )

    def observe(step: int, gain: float, move: dict[str, str], made: bool) -> None:
        event(
            step + every // 3,
            "observe",
            f"{'made' if made else 'probed'} at step {step}: gain {gain:+.2g} after 20 steps",
            move=move,
            realised={
                "gain": gain,
                "held_out_before": 1.23,
                "held_out_after": 1.23 - gain,
                "made": made,
            },
            probe={"steps": 20, "seconds": round(draw.uniform(25, 35), 1)},
        )

    event(0, "initial", "uniform ranks during the warm-up", ranks=dict(ranks))
    old = dict(ranks)
    for name in ranks:
        layer, projection = int(name.split(".")[3]), name.rsplit(".", 1)[-1]
        lean = 0.6 + 0.9 * math.exp(-(((layer / layers - 0.7) * 4) ** 2))
        lean *= 0.8 if projection in FEED_FORWARD else 1.1
        ranks[name] = max(unit, unit * round(r_ref * lean * draw.uniform(0.7, 1.4) / unit))
    while cost_of(ranks) > reference:
        name = max(ranks, key=lambda n: (ranks[n], n))
        ranks[name] -= unit
    changed = {n: [old[n], r] for n, r in ranks.items() if old[n] != r}
    event(
        every,
        "allocate",
        "coarse and fine ranks from the importance measured over the warm-up",
        ranks=dict(ranks),
        changed=changed,
    )
    for i in range(1, 14):
        step = (1 + i) * every
        cells = [(g, p) for g in GROUPS for p in COST]
        (g1, p1), (g2, p2) = draw.sample(cells, 2)
        move = {"from": f"{g1}/{p1}", "to": f"{g2}/{p2}"}
        gain = draw.gauss(0.004, 0.01)
        prediction = {
            "gain": 0.5 * gain + draw.gauss(0, 0.004),
            "lower": None if i < 3 else gain - 0.01,
            "observations": i,
            "spearman": None if i < 3 else 0.45,
        }

        if i not in MOVED_AT:
            reason = f"{i} observations of at least 12" if i < 12 else "no gain is certain"
            event(step, "abstain", reason, prediction=prediction)
            observe(step, gain, move, made=False)
            continue
        old = dict(ranks)
        for name in ranks:
            cell = (group_of(int(name.split(".")[3]), layers), name.rsplit(".", 1)[-1])
            if cell == (g1, p1) and ranks[name] > unit:
                ranks[name] -= unit
        for name in ranks:
            cell = (group_of(int(name.split(".")[3]), layers), name.rsplit(".", 1)[-1])
            if cell == (g2, p2):
                ranks[name] += unit
                if cost_of(ranks) > reference:
                    ranks[name] -= unit
        changed = {n: [old[n], r] for n, r in ranks.items() if old[n] != r}
        event(
            step,
            "move",
            "the lower bound of the predicted gain is above 0",
            ranks=dict(ranks),
            changed=changed,
            move=move,
            prediction=prediction,
        )
        observe(step, gain, move, made=True)
    event(15 * every, "freeze", "the last 30% of the steps keep their ranks")
    return events


def write_history(run: Path, **given: Any) -> RankHistory:
    """Write the made-up history as ranks.jsonl of a run folder."""
    history = RankHistory.of_run(run)
    for event in made_events(**given):
        history.append(event)
    return history
