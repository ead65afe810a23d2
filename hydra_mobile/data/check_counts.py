"""What a data check keeps while it reads: counts, a few examples, histograms. Bounded by design."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any


class Findings:
    """How often each kind of thing was found, with the first few examples of each."""

    def __init__(self, show: int) -> None:
        self._show = show
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, kind: str, example: str) -> None:
        """Count one of `kind`; `example` names it by record and id."""
        self.counts[kind] += 1
        held = self.examples.setdefault(kind, [])
        if len(held) < self._show:
            held.append(example)

    def to_dict(self) -> dict[str, Any]:
        """Return {kind: {count, examples}} of what was found."""
        return {
            kind: {"count": count, "examples": self.examples[kind]}
            for kind, count in self.counts.items()
        }


class Histogram:
    """Counts of whole numbers; exact quantiles in memory of the different numbers."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, value: int) -> None:
        """Count `value`."""
        self._counts[value] += 1

    @property
    def count(self) -> int:
        """How many values were counted."""
        return self._counts.total()

    @property
    def total(self) -> int:
        """Their sum."""
        return sum(value * count for value, count in self._counts.items())

    def quantiles(self, *shares: float) -> list[int]:
        """Return for each share the smallest value that this share of all values do not exceed.

        Shares are in rising order, above 0 and at most 1.
        """
        ranks = [max(1, math.ceil(share * self.count)) for share in shares]
        found: list[int] = []
        seen = 0
        for value in sorted(self._counts):
            seen += self._counts[value]
            while len(found) < len(ranks) and seen >= ranks[len(found)]:
                found.append(value)
        return found


class TokenCounts:
    """Lengths of conversations in tokens, and how many of them are learned."""

    def __init__(self) -> None:
        self.lengths = Histogram()
        self.learned = 0

    def add(self, length: int, learned: int) -> None:
        """Count a conversation of `length` tokens, image tokens included."""
        self.lengths.add(length)
        self.learned += learned

    def to_dict(self) -> dict[str, float]:
        """Return conversations, tokens, and the spread of lengths; empty without conversations."""
        count, total = self.lengths.count, self.lengths.total
        if not count:
            return {}
        low, median, p95, p99, high = self.lengths.quantiles(1e-12, 0.5, 0.95, 0.99, 1.0)
        return {
            "conversations": count,
            "tokens": total,
            "min": low,
            "median": median,
            "mean": total / count,
            "p95": p95,
            "p99": p99,
            "max": high,
            "learned_share": self.learned / total,
        }
