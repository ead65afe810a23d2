"""The dynamic stage by trailing directions: what happens to the ranks at an event.

Everything is read from the live adapters: no step is taken and thrown away. Process 0 decides, and
the decision is a rank map, so all processes have the same. Where held-out batches are at hand, a
forward-only check compares the loss without the directions that would be dropped, before they are
(growth is silent, so this is all that an event changes at once): it undoes accidents and does not
rank moves, since dropping small directions mostly lowers the loss by a per cent. So where there is
room for it the loss is taken once more, without as many parameters of modules drawn at random: what
an event's choice is worth is the difference between the two.

The performance model (`drop_cost.py`) learns from forward passes at the events, and takes over from
the rule where it ranks left-out outcomes better. Its outcomes are in the state, so a run that is
killed goes on as if it had not been.
"""

from __future__ import annotations

import functools
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from hydra_mobile.adapters import broadcast
from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.allocate_kinds import kind_of
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.dynamic.controller import RankController, changes
from hydra_mobile.adapters.dynamic.drop_cost import Cycle, Model, Outcome, Statistics, fit, observed
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.dynamic.settings import DynamicConfig
from hydra_mobile.adapters.dynamic.trailing import (
    Exchange,
    Plan,
    Tails,
    Worth,
    drawn_drop,
    exchanges,
)
from hydra_mobile.adapters.rank_map import RankMap

CHECK_SHARE = 0.02
"""Most that the checks of all events may cost, as a share of the run's steps."""
MOST_HARM = 0.005
"""Rise of the held-out loss, as a share of it, from which an event is undone if it is significant:
its t over micro-batches must be above `LEAST_T`."""
LEAST_T = 2.0
MODEL_SHARE = 0.02
"""Most that the model's outcomes may cost, as a share of the run's steps."""
LEAST_CELLS = 4
"""Cells measured at an event below which there is no model: outcomes are compared inside events."""


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
        held_out_batches: micro-batches that a check or the model may use; 0: there is none.
        seed: of the order in which the model's cells are measured, and of random moves.
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
        seed: int = 0,
    ) -> None:
        super().__init__(rank_map, budget, log, policy)
        self._grid = grid
        self._schedule = schedule
        self._settings = settings
        self._active = active
        self._forward_steps = forward_steps
        self._held_out_batches = held_out_batches
        self._forwards = 0
        self._seed = seed
        self._cycle = Cycle(list(budget.cost), seed)
        self._outcomes: list[Outcome] = []

    @property
    def model_forwards(self) -> tuple[int, int]:
        """Cells that the model measures at an event, and micro-batches for each; 0, 0: no model.

        The loss as it is takes one more round of those micro-batches.
        """
        events, cells = len(self._schedule.events), len(self._cycle.cells)
        if self._settings.model == "off" or not self._held_out_batches or not events:
            return 0, 0
        share = MODEL_SHARE * self._schedule.steps / events
        affordable = int(share / self._forward_steps + 1e-9)
        batches = max(1, min(self._held_out_batches, affordable // (cells + 1)))
        count = min(cells, affordable // batches - 1)
        return (count, batches) if count >= LEAST_CELLS else (0, 0)

    @property
    def check_batches(self) -> tuple[int, bool]:
        """Micro-batches of one check, 0 where there is none, and whether random moves are compared.

        Two losses are taken on each micro-batch, three with the comparison.
        """
        events = len(self._schedule.events)
        if not self._settings.undo or self._held_out_batches < 2 or not events:
            return 0, False
        forwards = CHECK_SHARE * self._schedule.steps / (events * self._forward_steps)
        compares = int(forwards / 3 + 1e-9) >= 2
        affordable = int(forwards / (3 if compares else 2) + 1e-9)
        return max(2, min(self._held_out_batches, affordable)), compares

    def announce(self) -> None:
        """Say so where the run is too short for an event to pay."""
        if self._active and not self._schedule.events:
            self.record(
                0,
                "abstain",
                f"this run is too short for ranks to move: it has {self._schedule.steps} steps, "
                f"and they move in runs of {self._settings.least_steps} or more",
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
            "outcomes": [o.to_json() for o in self._outcomes],
            "forwards": self._forwards,
            "spent_seconds": self.spent_seconds,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.rank_map = RankMap(state["rank_map"])
        # Checkpoints of earlier versions have none.
        self._outcomes = [Outcome.from_json(o) for o in state.get("outcomes", [])]
        self._forwards = int(state["forwards"])
        self.spent_seconds = float(state["spent_seconds"])

    # -- events ---------------------------------------------------------------------------------

    def _event(self, step: int, loop: TrailingLoop) -> None:
        tails = Tails(loop.spectra(), self._grid.step)
        statistics = Statistics(tails, self.rank_map)
        model = self._learn(step, statistics, loop)
        worth = tails.worth
        if model and model.passed:
            worth = functools.partial(model.worth, statistics)
        found = self.plan(worth)
        # What follows is done by all processes together: they must all do the same.
        decided = broadcast.broadcast(self._budget.rank_map(found.ranks))
        facts = {
            "prediction": self._facts(found, model, statistics),
            "tails": _quantiles(self.rank_map, tails),
        }
        if decided == self.rank_map:
            self.record(step, "abstain", self._why_not(found, model), **facts)
            return
        realised = self._check(step, decided, loop)
        if realised and realised["undone"]:
            self.record(
                step,
                "abstain",
                f"undone: without the directions to be dropped the held-out loss rises by "
                f"{100 * realised['rise']:.2g}% (t = {realised['t']:.1f}); all ranks stay",
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
            self._why(found, model, realised, facts["prediction"].get("expected_rise")),
            ranks=dict(decided),
            changed=changed,
            move=_ends(found),
            realised=realised,
            **facts,
        )

    def plan(self, worth: Worth) -> Plan:
        """Return what the event would do where directions are worth so much."""
        settings = self._settings
        return exchanges(
            self.rank_map,
            worth,
            self._budget,
            self._grid,
            margin=settings.margin,
            share=settings.share,
        )

    def _learn(self, step: int, statistics: Statistics, loop: TrailingLoop) -> Model | None:
        """Measure what leaving out the last directions of cells does, and fit the model to all."""
        count, batches = self.model_forwards
        if not count:
            return None
        ranks = self.rank_map
        before = loop.held_out_losses(step, batches)
        told = fit(self._outcomes)
        lines = []
        for cell, modules in self._cycle.due(len(self._outcomes), count):
            shorter = {n: max(0, ranks[n] - self._grid.step) for n in modules}
            with loop.truncated(shorter):
                after = loop.held_out_losses(step, batches)
            parameters = {n: (ranks[n] - shorter[n]) * self._budget.cost[n] for n in modules}
            rise = (math.fsum(after) - math.fsum(before)) / batches
            outcome = observed(step, cell, modules, statistics, ranks, parameters, rise)
            self._outcomes.append(outcome)
            expected = None
            if told.weights:
                total = math.fsum(
                    parameters[n] * told.loss_per_parameter(statistics, n, ranks[n])
                    for n in modules
                )
                expected = total / sum(parameters.values())
            lines.append({**outcome.to_json(), "expected": expected})
        self._forwards += (count + 1) * batches
        model = fit(self._outcomes)
        self.record(
            step,
            "observe",
            f"performance model: {count} cells measured, {model.reason}",
            model=model.facts(),
            outcomes=lines,
            forwards=(count + 1) * batches,
        )
        return model

    def _check(self, step: int, decided: RankMap, loop: TrailingLoop) -> dict[str, Any] | None:
        """Return the held-out loss with and without what would be dropped; None: no check."""
        batches, compares = self.check_batches
        if not batches:
            return None
        smaller = {n: rank for n, rank in decided.items() if rank < self.rank_map[n]}
        before = loop.held_out_losses(step, batches)
        with loop.truncated(smaller):
            after = loop.held_out_losses(step, batches)
        self._forwards += 2 * batches
        rise, t = loss_rise(before, after)
        means = [math.fsum(losses) / len(losses) for losses in (before, after)]
        at_random = {}
        if compares:
            # All processes draw the same: what was decided is the same on all of them.
            generator = random.Random(f"{self._seed} {step}")
            drawn = drawn_drop(self.rank_map, smaller, self._budget, self._grid, generator)
            with loop.truncated(drawn):
                without = loop.held_out_losses(step, batches)
            self._forwards += batches
            at_random = {"rise_at_random": loss_rise(before, without)[0]}
        return {
            **at_random,
            "gain": means[0] - means[1],
            "held_out_before": means[0],
            "held_out_after": means[1],
            "rise": rise,
            "t": t,
            "undone": is_harm(rise, t),
            "made": True,
        }

    # -- words ----------------------------------------------------------------------------------

    def _facts(self, found: Plan, model: Model | None, statistics: Statistics) -> dict[str, Any]:
        """Return what the rule or model said, as JSON values; an infinite ratio becomes null."""
        facts = {
            "by": _by(model),
            "margin": self._settings.margin,
            "exchanges": [_exchange(e) for e in found.made],
            "refused": _exchange(found.refused) if found.refused else None,
        }
        if model and model.weights:
            facts["expected_rise"] = self._expected(found, model, statistics)
        return facts

    def _expected(self, found: Plan, model: Model, statistics: Statistics) -> float:
        """Return by how much the loss rises at once where `found` is done, in nats."""
        step, cost = self._grid.step, self._budget.cost
        return math.fsum(
            step * cost[name] * model.loss_per_parameter(statistics, name, rank)
            for name, new in found.ranks.items()
            for rank in range(self.rank_map[name], new, -step)
        )

    def _why(
        self,
        found: Plan,
        model: Model | None,
        realised: Mapping[str, Any] | None,
        expected: float | None,
    ) -> str:
        finite = [e.ratio for e in found.made if math.isfinite(e.ratio)]
        count = len(found.made)
        steps = f"{count} grid step{'s' if count > 1 else ''} of rank moved"
        if finite:
            low, high = min(finite), max(finite)
            span = f"{low:.0f}" if f"{low:.0f}" == f"{high:.0f}" else f"{low:.0f} to {high:.0f}"
            carry = (
                f"by the performance model the last directions of what grows are worth {span} "
                "times what was given up"
                if _by(model) == "model"
                else f"the last directions of what grows carry {span} times what was given up, "
                "for their kinds"
            )
            steps += f": {carry} (margin {self._settings.margin:g})"
        if realised:
            steps += f"; held-out loss {100 * realised['rise']:+.2g}% at once"
            if expected is not None and realised["held_out_before"]:
                steps += f", {100 * expected / realised['held_out_before']:+.2g}% expected"
            if "rise_at_random" in realised:
                steps += f" (as many random moves: {100 * realised['rise_at_random']:+.2g}%)"
        return steps

    def _why_not(self, found: Plan, model: Model | None) -> str:
        if found.refused is None:
            return f"ranks stay: {found.why}"
        by = "by the performance model " if _by(model) == "model" else ""
        return (
            f"ranks stay: {by}no two modules differ enough; best ratio {found.refused.ratio:.1f}, "
            f"margin {self._settings.margin:g}"
        )


def _by(model: Model | None) -> str:
    return "model" if model and model.passed else "rule"


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
    """Return the 5, 50 and 95% quantiles of what last directions are worth, by kind."""
    worth: dict[str, list[float]] = {}
    for name, rank in ranks.items():
        worth.setdefault(kind_of(name), []).append(tails.worth(name, rank))
    return {
        kind: [sorted(values)[round(share * (len(values) - 1))] for share in (0.05, 0.5, 0.95)]
        for kind, values in worth.items()
    }
