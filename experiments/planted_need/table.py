"""The table of `result.json`: a pure function of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.shared.markdown import table

Result = Mapping[str, Any]

#: Arm of `result.json` -> its name in the table, in order.
_PLANTED = {
    "planted": "given the planted need (upper bound)",
    "coarse_fine": "`coarse_fine`, importance by gradient",
    "by_change": "`coarse_fine`, importance by update",
    "hydra": "`hydra` (gradient, then dynamic)",
    "random": "`random`",
    "reversed": "`reversed`",
    "adalora": "`adalora`, not tuned",
}


def render(value: Result) -> str:
    """Return held-out loss against uniform LoRA where needs differ and where they do not."""
    worlds = ("heterogeneous", "homogeneous")
    titles = ["ranks", "layers need 16, 12, 4, 0", "every module needs the same (control)"]
    lines = [
        [name, *(_relative(value["summary"][world][arm]) for world in worlds)]
        for arm, name in _PLANTED.items()
    ]
    return table(titles, lines)


#: World and steps of `trailing.json` -> its name in the table, in order.
_WORLDS = {
    "heterogeneous:600": "layers need 16, 12, 4, 0; 600 steps",
    "heterogeneous:1200": "the same, 1,200 steps",
    "changing:600": "needs change after a quarter, 600 steps",
    "correlated:600": "correlated inputs, 600 steps",
    "homogeneous:600": "control: every module needs the same, 600 steps",
    "homogeneous:1200": "control, 1,200 steps",
}
_ARMS = {
    "trailing": "`hydra` (margin 16)",
    "model": "with the performance model",
    "no_check": "without the check",
    "margin_8": "margin 8",
    "margin_1": "margin 1",
    "no_kinds": "last directions not relative to their kind",
    "no_cap": "no limit to what may move at an event",
    "random_moves": "as many random moves",
    "along_gradient": "new rows along the residual gradient",
    "scale_by_rank": "`compensate=scale`",
    "rate_by_rank": "`compensate=rate`",
    "both_by_rank": "`compensate=both`",
}


def render_trailing(value: Result) -> str:
    """Return held-out loss against uniform LoRA and moves, by world and arm of `trailing.json`."""
    lines = []
    for world, title in _WORLDS.items():
        arms = value["summary"].get(world, {})
        for arm, name in _ARMS.items():
            if arm in arms:
                row = arms[arm]
                moved = f"{row['seeds_that_moved']} of {row['seeds']}"
                lines.append([title, name, _relative(row), moved, f"{row['moves_a_run']:.1f}"])
    titles = ["world", "ranks", "held-out loss", "runs that moved", "moves a run"]
    return table(titles, lines)


def _relative(arm: Mapping[str, Any]) -> str:
    found = arm["relative_to_uniform"]
    if found["low"] == found["high"] == 0:
        return "0"
    value, low, high = (f"{100 * found[key]:+.0f}" for key in ("mean", "low", "high"))
    return f"{value}% [{low}, {high}]"
