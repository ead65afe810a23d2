"""Markdown tables and the figures in them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


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
