"""The table of `result.json`: a pure function of the JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from experiments.shared.markdown import spread, table
from hydra_mobile.benchmarks.metric import paired, share

Result = Mapping[str, Any]
_TITLES = {"none": "full precision", "int4": "`stage2.qat=int4`"}


def compared(value: Result, arm: str, rounding: str, to: tuple[str, str]) -> tuple[float, ...]:
    """Return the points by which answers differ from those of another arm and rounding, [95%].

    Seeds are taken together; questions of one picture stand or fall together, seed by seed.
    """
    seeds = list(value["seeds"])
    clusters = [f"{seed} {cluster}" for seed in seeds for cluster in value["clusters"]]

    def score(which: str, rows: str) -> Any:
        bits = "".join(value["seeds"][seed][which]["rows"][rows]["right"] for seed in seeds)
        return share("all", "all", [float(bit) for bit in bits], clusters)

    change = paired(score(arm, rounding), score(*to))
    return 100 * change.value, 100 * change.low, 100 * change.high


def right(value: Result, arm: str, rounding: str) -> tuple[int, int]:
    """Return how many answers are right, of how many."""
    bits = "".join(arms[arm]["rows"][rounding]["right"] for arms in value["seeds"].values())
    return bits.count("1"), len(bits)


def same(value: Result, arm: str, rounding: str) -> tuple[int, int]:
    """Return how many answers are those of the same model in fp32, of how many."""
    bits = "".join(arms[arm]["rows"][rounding]["same"] for arms in value["seeds"].values())
    return bits.count("1"), len(bits)


def cost(value: Result) -> float:
    """Return the processor time of training with `qat` over that without; median over seeds."""
    return statistics.median(
        arms["int4"]["seconds"]["cpu"] / arms["none"]["seconds"]["cpu"]
        for arms in value["seeds"].values()
    )


def render(value: Result) -> str:
    """Return scores and equal answers by way of training and of rounding, seeds together."""
    titles = ["trained in", "weights", "right", "answers as in fp32"]
    titles += ["points over the same model in fp32 [95%]", "points over the first line [95%]"]
    lines = []
    for arm, title in _TITLES.items():
        first = next(iter(value["seeds"].values()))[arm]["rows"]
        for rounding in first:
            good, asked = right(value, arm, rounding)
            own = equal = ""
            if rounding != "fp32":
                kept, total = same(value, arm, rounding)
                equal = f"{kept} of {total} ({kept / total:.0%})"
                own = spread(compared(value, arm, rounding, (arm, "fp32")), "+.1f")
            other = compared(value, arm, rounding, ("none", "fp32"))
            reference = (arm, rounding) == ("none", "fp32")
            lines.append(
                [
                    title,
                    "fp32" if rounding == "fp32" else f"int4, {rounding}",
                    f"{good} of {asked} ({good / asked:.1%})",
                    equal,
                    own,
                    "" if reference else spread(other, "+.1f"),
                ]
            )
    return table(titles, lines)
