"""The gate on speed: a program whose work does not run on fast kernels is refused, not shipped.

A single operator that no fast kernel takes can cost more than all others together, and nothing but
the stopwatch of a user would tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra_mobile.core.errors import HydraError

#: Least share of the multiply-accumulates of each method that must run on fast kernels.
MINIMUM = 0.95
SHARE = "fast_share_of_multiply_accumulates"
# Operators named in the list of the most expensive ones off the fast path.
_LISTED = 5


@dataclass
class OffPath:
    """What each operator off the fast path costs, added up as a graph is walked."""

    _costs: dict[str, list[int]] = field(default_factory=dict)

    def add(self, operator: str, multiply_accumulates: int, elements: int) -> None:
        """Count one node, by its work and the values that it writes."""
        cost = self._costs.setdefault(operator, [0, 0, 0])
        for index, amount in enumerate((1, multiply_accumulates, elements)):
            cost[index] += amount

    def most_expensive(self) -> list[dict[str, Any]]:
        """Return a few operators that cost anything, the costliest first, as JSON values."""
        costly = sorted(self._costs.items(), key=lambda item: -sum(item[1][1:]))
        return [
            {"operator": name, "count": count, "multiply_accumulates": work, "elements": elements}
            for name, (count, work, elements) in costly[:_LISTED]
            if work + elements
        ]


def share(part: int, whole: int, empty: float = 1.0) -> float:
    """Return part / whole in four digits; `empty` where there is nothing."""
    return round(part / whole, 4) if whole else empty


def require_fast(methods: Mapping[str, Mapping[str, Any]], minimum: float = MINIMUM) -> None:
    """Raise unless every method does its work on fast kernels.

    Args:
        methods: method -> `SHARE` and `most_expensive_off_path`, as targets report them.
        minimum: least share, in [0, 1]; 0 lets everything pass.

    Raises:
        HydraError: names the first method below, its share and its most expensive operators.
    """
    for method, facts in methods.items():
        if facts[SHARE] < minimum:
            raise HydraError(
                f"`{method}` does {facts[SHARE]:.1%} of its multiply-accumulates on fast kernels, "
                f"at least {minimum:.0%} was expected. Off the fast path: "
                f"{_costly(facts['most_expensive_off_path'])}.",
                "Replace these operators in the model, choose another runtime, or accept a slow "
                f"program with --min-fast-path {_down(facts[SHARE])}.",
            )


def sentence(methods: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one line for the log: the share of each method."""
    parts = [f"{method} {facts[SHARE]:.1%}" for method, facts in methods.items()]
    return f"multiply-accumulates on fast kernels: {', '.join(parts)}"


def _costly(operators: Any) -> str:
    return ", ".join(
        f"{entry['count']} {entry['operator']} ({entry['multiply_accumulates'] / 1e6:.1f} M "
        f"multiply-accumulates, {entry['elements'] / 1e6:.2f} M values)"
        for entry in operators
    )


def _down(share: float) -> str:
    """Return the share as an option's value that just lets it pass."""
    return f"{int(100 * share) / 100:.2f}"
