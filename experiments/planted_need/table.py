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


def _relative(arm: Mapping[str, Any]) -> str:
    found = arm["relative_to_uniform"]
    if found["low"] == found["high"] == 0:
        return "0"
    value, low, high = (f"{100 * found[key]:+.0f}" for key in ("mean", "low", "high"))
    return f"{value} % [{low}, {high}]"
