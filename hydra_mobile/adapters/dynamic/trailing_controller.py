"""The dynamic stage by trailing directions: what happens to the ranks at an event.

Everything is read from the live adapters: no step is taken and thrown away. Process 0 decides, and
the decision is a rank map, so all processes have the same. Where held-out batches are at hand, a
forward-only check compares the loss without the directions that would be dropped, before they are
(growth is silent, so this is all that an event changes at once): it undoes accidents and does not
rank moves, since dropping small directions mostly lowers the loss by a per cent.

Nothing is kept between events, so a run that is killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from hydra_mobile.adapters import broadcast
from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.allocate_kinds import kind_of
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.dynamic.controller import RankController, changes
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.dynamic.settings import DynamicConfig
from hydra_mobile.adapters.dynamic.trailing import Exchange, Plan, Tails, exchanges
from hydra_mobile.adapters.rank_map import RankMap

CHECK_SHARE = 0.02
"""Most that the checks of all events may cost, as a share of the run's steps."""
MOST_HARM = 0.005
"""Rise of the held-out loss, as a share of it, from which an event is undone if it is significant:
its t over micro-batches must be above `LEAST_T`."""
LEAST_T = 2.0


class TrailingLoop(Protocol):
    """What the controller asks of a training loop. Steps are counted as done."""

    def spectra(self) -> dict[str, list[float]]:
        """Return the singular values of s B A by module, falling, one per rank."""

    def held_out_losses(self, step: int, batches: int) -> list[float]:
        """Return losses of micro-batches that follow step `step`, the same on all processes."""

    def truncated(self, ranks: Mapping[str, int]) -> AbstractContextManager[None]:
        """Keep only the first directions of modules inside the block."""

    def resize(self, rank_map: RankMap, step: int, shrink: Any = None) -> None:
        """Bring the model to `rank_map` on all processes."""


class TrailingController(RankController):
    """Decides by the last directions of modules, see the module's docstring.

    Args:
        rank_map: the current map.
        budget: the parameter budget.
        grid: the ranks that a module may have.
        schedule: when events happen.
        settings: margin, share of the budget, check.
        log: takes each event as a dictionary in the form of ranks.jsonl.
        policy: name of the rank policy in the events.
        active: whether there are events; without them maps change only through `put`.
        forward_steps: cost of a micro-batch's forward pass, in optimizer steps.
        held_out_batches: micro-batches that a check may use; 0: there is none.
    """

    def __init__(
        self,
        rank_map: RankMap,
        budget: Budget,
        grid: Grid,
        schedule: Schedule,
        settings: DynamicConfig,
        log: Callable[[dict[str, Any]], None],
        *,
        policy: str,
        active: bool = True,
        forward_steps: float = 1 / 3,
        held_out_batches: int = 0,
    ) -> None:
        super().__init__(rank_map, budget, log, policy)
        self._grid = grid
        self._schedule = schedule
        self._settings = settings
        self._active = active
        self._forward_steps = forward_steps
        self._held_out_batches = held_out_batches
        self._forwards = 0

    @property
    def check_batches(self) -> int:
        """Micro-batches of one check; 0 where there is none. Two losses are taken on each."""
        events = len(self._schedule.events)
        if not self._settings.undo or self._held_out_batches < 2 or not events:
            return 0
        affordable = CHECK_SHARE * self._schedule.steps / (2 * events * self._forward_steps)
        return max(2, min(self._held_out_batches, int(affordable)))

    def announce(self) -> None:
        """Say so where the run is too short for an event to pay."""
        if self._active and not self._schedule.events:
            self.record(
                0,
                "abstain",
                f"too short for ranks to bind: the run has {self._schedule.steps} steps, events "
                f"need {self._settings.least_steps}; all ranks stay",
            )

    def after_step(self, step: int, loop: TrailingLoop) -> None:
        """Do what is due after the `step`-th optimizer step."""
        if not self._active:
            return
        if step in self._schedule.events:
            began = time.monotonic()
            self._event(step, loop)
            self.spent_seconds += time.monotonic() - began
            if step == self._schedule.freeze:
                self.record(step, "freeze", f"no more events after step {step}")

    def state(self) -> dict[str, Any]:
        """Return everything that decides later events, and what was spent."""
        return {
            "rank_map": dict(self.rank_map),
            "forwards": self._forwards,
            "spent_seconds": self.spent_seconds,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.rank_map = RankMap(state["rank_map"])
        self._forwards = int(state["forwards"])
        self.spent_seconds = float(state["spent_seconds"])

    # -- events ---------------------------------------------------------------------------------

    def _event(self, step: int, loop: TrailingLoop) -> None:
        tails = Tails(loop.spectra(), self._grid.step)
        found = self.plan(step, tails)
        # What follows is done by all processes together: they must all do the same.
        decided = broadcast.broadcast(self._budget.rank_map(found.ranks))
        facts = {"prediction": self._facts(found), "tails": _quantiles(self.rank_map, tails)}
        if decided == self.rank_map:
            self.record(step, "abstain", self._why_not(found), **facts)
            return
        realised = self._check(step, decided, loop)
        if realised and realised["undone"]:
            self.record(
                step,
                "abstain",
                f"undone: without the directions to be dropped the held-out loss rises by "
                f"{100 * realised['rise']:.2g} % (t = {realised['t']:.1f}); all ranks stay",
                realised=realised,
                **facts,
            )
            return
        changed = changes(self.rank_map, decided)
        loop.resize(decided, step, "svd")
        self.rank_map = decided
        self.record(
            step,
            "move",
            self._why(found, realised),
            ranks=dict(decided),
            changed=changed,
            move=_ends(found),
            realised=realised,
            **facts,
        )

    def plan(self, step: int, tails: Tails) -> Plan:
        """Return what the event would do."""
        settings = self._settings
        return exchanges(
            self.rank_map,
            tails.worth,
            self._budget,
            self._grid,
            margin=settings.margin,
            share=settings.share,
        )

    def _check(self, step: int, decided: RankMap, loop: TrailingLoop) -> dict[str, Any] | None:
        """Return the held-out loss with and without what would be dropped; None: no check."""
        batches = self.check_batches
        if not batches:
            return None
        smaller = {n: rank for n, rank in decided.items() if rank < self.rank_map[n]}
        before = loop.held_out_losses(step, batches)
        with loop.truncated(smaller):
            after = loop.held_out_losses(step, batches)
        self._forwards += 2 * batches
        rise, t = loss_rise(before, after)
        means = [math.fsum(losses) / len(losses) for losses in (before, after)]
        return {
            "gain": means[0] - means[1],
            "held_out_before": means[0],
            "held_out_after": means[1],
            "rise": rise,
            "t": t,
            "undone": is_harm(rise, t),
            "made": True,
        }

    # -- words ----------------------------------------------------------------------------------

    def _facts(self, found: Plan) -> dict[str, Any]:
        """Return what the rule said, as JSON values; an infinite ratio becomes null."""
        return {
            "by": "rule",
            "margin": self._settings.margin,
            "exchanges": [_exchange(e) for e in found.made],
            "refused": _exchange(found.refused) if found.refused else None,
        }

    def _why(self, found: Plan, realised: Mapping[str, Any] | None) -> str:
        finite = [e.ratio for e in found.made if math.isfinite(e.ratio)]
        count = len(found.made)
        steps = f"{count} grid step{'s' if count > 1 else ''} of rank moved"
        if finite:
            low, high = min(finite), max(finite)
            span = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
            steps += (
                f": the last directions of what grows carry {span} times what was given up, for "
                f"their kinds (margin {self._settings.margin:g})"
            )
        if realised:
            steps += f"; held-out loss {100 * realised['rise']:+.2g} % at once"
        return steps

    def _why_not(self, found: Plan) -> str:
        if found.refused is None:
            return f"ranks stay: {found.why}"
        return (
            f"ranks stay: no two modules differ enough; best ratio {found.refused.ratio:.1f}, "
            f"margin {self._settings.margin:g}"
        )


def loss_rise(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Return the rise of the mean loss as a share of it, and its t over micro-batches."""
    n = len(before)
    differences = [b - a for a, b in zip(before, after, strict=True)]
    mean = math.fsum(differences) / n
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    level = math.fsum(before) / n
    # Equal differences of all batches are as significant as can be, in either sense.
    t = mean / spread if spread > 0 else math.copysign(1e6, mean) if mean else 0.0
    return (mean / level if level else 0.0), t


def is_harm(rise: float, t: float) -> bool:
    """Return whether a rise of the held-out loss undoes an event."""
    return rise > MOST_HARM and t > LEAST_T


def _exchange(exchange: Exchange) -> dict[str, Any]:
    return {
        "to": exchange.target,
        "from": list(exchange.sources),
        "ratio": exchange.ratio if math.isfinite(exchange.ratio) else None,
    }


def _ends(found: Plan) -> dict[str, str]:
    """Return which kinds of projection gave and which got, the most frequent first."""

    def kinds(names: Sequence[str]) -> str:
        own = [kind_of(name) for name in names]
        ordered = sorted(dict.fromkeys(own), key=lambda kind: -own.count(kind))
        return ", ".join(ordered) or "what was unspent"

    return {
        "from": kinds([name for e in found.made for name in e.sources]),
        "to": kinds([e.target for e in found.made]),
    }


def _quantiles(ranks: Mapping[str, int], tails: Tails) -> dict[str, list[float]]:
    """Return the 5, 50 and 95 % quantiles of what last directions are worth, by kind."""
    worth: dict[str, list[float]] = {}
    for name, rank in ranks.items():
        worth.setdefault(kind_of(name), []).append(tails.worth(name, rank))
    return {
        kind: [sorted(values)[round(share * (len(values) - 1))] for share in (0.05, 0.5, 0.95)]
        for kind, values in worth.items()
    }
