"""A run's rank updates in a few numbers: where the budget was, and why it moved or stayed."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_LAYER = re.compile(r"\.layers\.(\d+)\.")
#: The linears of a Llama layer, in the order of its forward.
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
THIRDS = ("first third", "middle third", "last third")


def layer_number(name: str) -> int:
    """Return the number of a decoder layer's linear, counted from the projector's side."""
    found = _LAYER.search(name)
    if not found:
        raise ValueError(f"{name} is no linear of a decoder layer")
    return int(found.group(1))


def summary(lines: Sequence[str]) -> dict[str, Any]:
    """Return where the last map lies and what the performance model did; {} without events.

    Args:
        lines: of ranks.jsonl.

    Returns:
        `mean_rank` by linear and by third of the decoder; `events` by kind; `gains` measured by
        probes, nats of held-out loss; `last_gate` and `last_reason`, what the performance model
        knew and said at its last event.
    """
    events = [json.loads(line) for line in lines]
    maps = [event["ranks"] for event in events if event.get("ranks")]
    if not maps:
        return {}
    decided = [event for event in events if event["event"] in ("abstain", "move")]
    last = decided[-1] if decided else {}
    return {
        "mean_rank": {
            **_means(maps[-1], lambda name: name.rsplit(".", 1)[-1]),
            **_means(maps[-1], _third(maps[-1])),
        },
        "events": dict(Counter(event["event"] for event in events)),
        "gains": [round(e["realised"]["gain"], 5) for e in events if e.get("realised")],
        "last_gate": last.get("prediction"),
        "last_reason": last.get("reason"),
    }


def _third(ranks: Mapping[str, int]) -> Callable[[str], str]:
    count = 1 + max(map(layer_number, ranks))
    return lambda name: THIRDS[min(2, 3 * layer_number(name) // count)]


def _means(ranks: Mapping[str, int], kind_of: Callable[[str], str]) -> dict[str, float]:
    kinds: dict[str, list[int]] = {}
    for name, rank in ranks.items():
        kinds.setdefault(kind_of(name), []).append(rank)
    return {kind: round(statistics.mean(found), 2) for kind, found in kinds.items()}


def _by_arm(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the summaries of each arm's runs, of those that kept one."""
    arms: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        if run.get("ranks"):
            arms.setdefault(run["arm"], []).append(run["ranks"])
    return arms


def tell(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return table lines: mean ranks of each arm over its seeds; none where none were kept."""
    means = {arm: [one["mean_rank"] for one in each] for arm, each in _by_arm(runs).items()}
    # Uniform ranks are no news.
    arms = {arm: each for arm, each in means.items() if len(set(each[0].values())) > 1}
    if not arms:
        return []
    first = next(iter(arms.values()))[0]
    kinds = [kind for kind in (*LINEARS, *THIRDS) if kind in first]
    lines = [f"| mean rank | {' | '.join(kinds)} |", "|---" * (1 + len(kinds)) + "|"]
    for arm, each in arms.items():
        cells = [f"{statistics.mean(one[kind] for one in each):.1f}" for kind in kinds]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def probes(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each arm whose performance model saw probes."""
    told = []
    for arm, summaries in _by_arm(runs).items():
        each = [one for one in summaries if one["gains"]]
        if not each:
            continue
        gains = [gain for one in each for gain in one["gains"]]
        moved = sum(one["events"].get("move", 0) for one in each)
        kept = sum(one["events"].get("abstain", 0) for one in each)
        error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
        told.append(
            f"`{arm}`, {len(each)} run{'s'[: len(each) - 1]}: {len(gains)} probes, gain "
            f"{statistics.mean(gains):+.4f} ± {error:.4f} nats (mean and its standard error; best "
            f"{max(gains):+.4f}, worst {min(gains):+.4f}); at {moved + kept} events the model "
            f"moved ranks {moved} times. Last word: {each[-1]['last_reason']}."
        )
    return told
