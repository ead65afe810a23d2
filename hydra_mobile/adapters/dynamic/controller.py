"""What carries rank events out and records them, whatever decides about them.

The controllers of this folder decide: `trailing_controller.py` by the last directions of modules,
`probe_controller.py` by probes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from hydra_mobile.adapters import broadcast
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.rank_map import RankMap


class Resizing(Protocol):
    """What every rank event asks of a training loop."""

    def resize(self, rank_map: RankMap, step: int) -> None:
        """Bring the model to `rank_map` on all processes."""


class RankController(ABC):
    """Decides and carries out rank events; its state is JSON.

    Attributes:
        rank_map: the current map.
        spent_steps: optimizer steps taken for decisions and thrown away so far.
        spent_seconds: wall time of decisions so far, held-out losses included.
    """

    def __init__(
        self,
        rank_map: RankMap,
        budget: Budget,
        log: Callable[[dict[str, Any]], None],
        policy: str,
    ) -> None:
        self.rank_map = rank_map
        self.spent_steps = 0
        self.spent_seconds = 0.0
        self._budget = budget
        self._log = log
        self._policy = policy

    @abstractmethod
    def after_step(self, step: int, loop: Any) -> None:
        """Do what is due after the `step`-th optimizer step."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return everything that decides later events."""

    @abstractmethod
    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""

    def announce(self) -> None:  # noqa: B027  # nothing to say is an answer
        """Record what is known of the run's events before its first step."""

    def put(self, rank_map: RankMap, step: int, kind: str, reason: str, loop: Resizing) -> None:
        """Bring the run to `rank_map` and record it as an event of `kind`."""
        rank_map = broadcast.broadcast(self._budget.rank_map(rank_map))
        changed = changes(self.rank_map, rank_map)
        if changed:
            loop.resize(rank_map, step)
        self.rank_map = rank_map
        self.record(step, kind, reason, ranks=dict(rank_map), changed=changed)

    def record(self, step: int, kind: str, reason: str, **more: Any) -> None:
        """Record an event that leaves the current map as it now is."""
        self._log(
            {
                "schema": 1,
                "step": step,
                "event": kind,
                "policy": self._policy,
                "reason": reason,
                "parameters": self._budget.cost_of(self.rank_map),
                "reference": self._budget.reference,
                "digest": self.rank_map.digest(),
                **more,
            }
        )


def changes(old: RankMap, new: RankMap) -> dict[str, list[int]]:
    """Return `{module: [old rank, new rank]}` of the modules that differ."""
    return {name: [old[name], new[name]] for name in new if old.get(name) != new[name]}
