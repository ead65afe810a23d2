"""Markdown tables and the figures in them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; every column but the first is set to the right."""
    head = f"| {' | '.join(titles)} |\n| --- |{' ---: |' * (len(titles) - 1)}\n"
    return head + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def ranged(values: Sequence[float]) -> str:
    """Return the median with the range in brackets, "2.36 [2.13, 2.40]"; "" for none."""
    if len(values) < 2:
        return "".join(f"{value:.2f}" for value in values)
    return spread((statistics.median(values), min(values), max(values)))


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return (value, low, high) as "2.36 [2.13, 2.40]"."""
    value, low, high = (format(v, form) for v in values)
    return f"{value} [{low}, {high}]"


def before_and_now(what: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of a comparison in rounds: medians with ranges, ratios within a round.

    Args:
        what: the key, and the title, of what was measured.
        rows: of a round each, seconds under `before` and `now`.
    """
    lines = []
    for name in dict.fromkeys(row[what] for row in rows):
        own = [row for row in rows if row[what] == name]
        cells = [ranged([row[key] for row in own]) for key in ("before", "now")]
        lines.append([name, *cells, ranged([row["before"] / row["now"] for row in own])])
    return table([what, "before, s", "now, s", "times as fast"], lines)
