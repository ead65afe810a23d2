"""The dynamic stage by probes: kept for comparison, it abstains in practice.

A reconstruction: of the paper's performance model nothing is known but that it is lightweight and
decides the ranks during fine-tuning. This one learns from paired probes: it asks about single
moves, whose effect is smaller than the noise of a probe, so its gate keeps the map. At an event,
from one and the same state, a candidate map is trained for K steps and thrown away; then the run
itself takes the same K steps with the current map, which is the other half of the pair and costs
nothing. The difference in held-out loss is one observation. The model may move ranks only through
its gate (`gate.py`); otherwise the map stays and the event records why.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hydra_mobile.adapters import broadcast
from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.dynamic.cells import Cells, label
from hydra_mobile.adapters.dynamic.controller import RankController, changes
from hydra_mobile.adapters.dynamic.data import Observation, Prediction
from hydra_mobile.adapters.dynamic.fit import Fit, decide, fit
from hydra_mobile.adapters.dynamic.moves import Move, candidate_moves
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.dynamic.settings import DynamicConfig
from hydra_mobile.adapters.dynamic.trend import passive_observations
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.rank_map import RankMap


class Loop(Protocol):
    """What the controller asks of a training loop. Steps are counted as done."""

    def snapshot(self) -> Any:
        """Return all that decides the next steps: trained tensors, moments, random state."""

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot, ranks included."""

    def train(self, step: int, steps: int) -> bool:
        """Take the `steps` optimizer steps after step `step`; False if the loss overflowed."""

    def held_out_loss(self, step: int) -> float:
        """Return the loss on batches that follow step `step`, without training on them."""

    def resize(self, rank_map: RankMap, step: int) -> None:
        """Bring the model to `rank_map` on all processes."""


@dataclass
class _Pending:
    """Probes whose other half, the run itself, is still to come."""

    step: int
    settle_at: int
    before: dict[str, int]
    arms: list[dict[str, Any]] = field(default_factory=list)
    made: bool = False
    seconds: float = 0.0


class ProbeController(RankController):
    """Decides by probes, see the module's docstring."""

    def __init__(
        self,
        rank_map: RankMap,
        budget: Budget,
        grid: Grid,
        layer_group: Mapping[str, int],
        schedule: Schedule,
        settings: DynamicConfig,
        log: Callable[[dict[str, Any]], None],
        *,
        policy: str,
        seed: int,
        active: bool = True,
        incumbent_trains: bool = True,
        forward_steps: float = 0.0,
        held_out_batches: int = 1,
    ) -> None:
        """Begin with a map.

        Args:
            rank_map: the current map.
            budget: the parameter budget.
            grid: the ranks that a module may have.
            layer_group: coarse group 0, 1 or 2 of each layer.
            schedule: when events happen.
            settings: what may be spent on probes, and earlier observations to start from.
            log: takes each event as a dictionary in the form of ranks.jsonl.
            policy: name of the rank policy in the events.
            seed: of the choice of candidates and of the performance model.
            active: whether there are events; without them maps change only through `put`.
            incumbent_trains: whether the run's own steps are the current map's half of a pair.
                False where the loop cannot repeat the batches to come: both halves are probed.
            forward_steps: cost of a micro-batch's forward pass, in optimizer steps.
            held_out_batches: micro-batches of a held-out loss.

        Raises:
            ArtifactError: the file of earlier observations is missing or broken.
        """
        super().__init__(rank_map, budget, log, policy)
        self._grid = grid
        self._schedule = schedule
        self._settings = settings
        self._seed = seed
        self._active = active
        self._incumbent_trains = incumbent_trains
        self._held_out_steps = held_out_batches * forward_steps
        self.regroup(layer_group)
        self._observations = _earlier_observations(settings.observations) if active else []
        self._passive: list[dict[str, Any]] = []
        self._pending: _Pending | None = None
        # Probes in optimizer steps, held-out losses included: what `probe_share` limits.
        self._spent = 0.0

    def regroup(self, layer_group: Mapping[str, int]) -> None:
        """Set the layers' groups, before the first event."""
        self._layer_group = dict(layer_group)
        self._cells = Cells.of(list(self._budget.cost), layer_group)

    @property
    def event_cost(self) -> float:
        """What an event's probes cost, held-out losses included, in optimizer steps."""
        settings = self._settings
        maps = settings.candidates + (0 if self._incumbent_trains else 1)
        losses = (settings.candidates + 1) * self._held_out_steps
        return maps * settings.probe_steps + losses

    # -- what the loop calls --------------------------------------------------------------------

    def after_step(self, step: int, loop: Loop) -> None:
        """Do what is due after the `step`-th optimizer step."""
        pending = self._pending
        if pending and step >= pending.settle_at:
            self._settle(pending, step, loop)
        if not self._active:
            return
        if step in self._schedule.events:
            self._event(step, loop)
        if step == self._schedule.freeze:
            self.record(step, "freeze", f"no more events after step {step}")

    def state(self) -> dict[str, Any]:
        """Return everything that decides later events."""
        return {
            "rank_map": dict(self.rank_map),
            "layer_group": self._layer_group,
            "observations": [o.to_json() for o in self._observations],
            "passive": self._passive,
            "pending": vars(self._pending) if self._pending else None,
            "spent": self._spent,
            "spent_steps": self.spent_steps,
            "spent_seconds": self.spent_seconds,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.rank_map = RankMap(state["rank_map"])
        self.regroup(state["layer_group"])
        self._observations = [Observation.from_json(o) for o in state["observations"]]
        self._passive = list(state["passive"])
        self._pending = _Pending(**state["pending"]) if state["pending"] else None
        self._spent = float(state["spent"])
        self.spent_steps = int(state["spent_steps"])
        self.spent_seconds = float(state["spent_seconds"])

    # -- events ---------------------------------------------------------------------------------

    def _event(self, step: int, loop: Loop) -> None:
        settings = self._settings
        progress = step / self._schedule.steps
        if settings.target == "passive":
            self._passive.append(
                {
                    "step": step,
                    "features": list(self._features(self.rank_map)),
                    "loss": loop.held_out_loss(self._schedule.steps),
                }
            )
        model = self._fitted()
        moves: list[Move] = []
        # Listing hundreds of maps takes a while: only where one of them could be used.
        if self._may_probe() or (model and model.gate.passed):
            moves = candidate_moves(self.rank_map, self._budget, self._grid, self._cells)
        chosen, prediction = self._choose(model, moves, progress)
        # What follows takes steps on all processes together: they must all do the same.
        decided = broadcast.broadcast(chosen.rank_map if chosen else self.rank_map)
        chosen = next((move for move in moves if move.rank_map == decided), None)
        arms = self._arms(step, moves, chosen)
        if arms:
            self._probe(step, arms, chosen, loop)
        facts = _prediction_facts(model, prediction)
        if chosen is None:
            self.record(step, "abstain", _why_not(model, moves), prediction=facts)
            return
        changed = changes(self.rank_map, decided)
        loop.resize(decided, step)
        self.rank_map = decided
        self.record(
            step,
            "move",
            f"predicted gain {facts['gain']:.2g}, at least {facts['lower']:.2g}",
            ranks=dict(decided),
            changed=changed,
            move=self._labels(chosen),
            prediction=facts,
        )

    def _fitted(self) -> Fit | None:
        observations = list(self._observations)
        if self._settings.target == "passive":
            observations += passive_observations(
                [p["features"] for p in self._passive],
                [p["loss"] for p in self._passive],
                [p["step"] for p in self._passive],
                self._schedule.steps,
            )
        return fit(observations, seed=self._seed) if observations else None

    def _choose(
        self, model: Fit | None, moves: list[Move], progress: float
    ) -> tuple[Move | None, Prediction | None]:
        if model is None or not moves:
            return None, None
        before = self._features(self.rank_map)
        after = [self._features(move.rank_map) for move in moves]
        best = decide(model, before, after, progress)
        if best is None:
            return None, None
        return moves[best], model.predict(before, [after[best]], progress)[0]

    # -- probes ---------------------------------------------------------------------------------

    def _may_probe(self) -> bool:
        """Return whether a probe is allowed now, within what probes may cost."""
        settings = self._settings
        if settings.target != "paired_probe" or self._pending:
            return False
        limit = settings.probe_share * self._schedule.steps + 1e-9
        return self._spent + self.event_cost <= limit

    def _arms(self, step: int, moves: list[Move], chosen: Move | None) -> list[Move]:
        """Return the moves to compare with the current map."""
        if not moves or not self._may_probe():
            return []
        if chosen:
            return [chosen]
        rng = random.Random(f"{self._seed}:{step}:probe")
        return rng.sample(moves, min(self._settings.candidates, len(moves)))

    def _probe(self, step: int, arms: list[Move], chosen: Move | None, loop: Loop) -> None:
        """Train what the run itself will not train, and remember its held-out loss.

        Where `chosen` is about to be made, that is the current map; else each arm's map.
        """
        began = time.monotonic()
        self._spent += self.event_cost
        until = min(step + self._settings.probe_steps, self._schedule.steps)
        pending = _Pending(step, until, dict(self.rank_map))
        start = loop.snapshot()
        for move in arms:
            loss = self._arm_loss(step, until, self.rank_map if chosen else move.rank_map, loop)
            loop.restore(start)
            pending.arms.append(
                {"rank_map": dict(move.rank_map), "loss": loss, "move": self._labels(move)}
            )
        pending.made = chosen is not None
        if self._incumbent_trains:
            self._pending = pending
            pending.seconds = time.monotonic() - began
            self.spent_seconds += pending.seconds
            return
        other = self._arm_loss(step, until, chosen.rank_map if chosen else self.rank_map, loop)
        loop.restore(start)
        pending.seconds = time.monotonic() - began
        self.spent_seconds += pending.seconds
        self._observe(pending, step, other)

    def _arm_loss(self, step: int, until: int, rank_map: RankMap, loop: Loop) -> float | None:
        """Return the held-out loss after training with a map; None where training diverged."""
        if rank_map != self.rank_map:
            loop.resize(rank_map, step)
        finite = loop.train(step, until - step)
        self.spent_steps += until - step
        loss = loop.held_out_loss(until) if finite else math.inf
        # JSON, where the state goes, has no infinity.
        return loss if math.isfinite(loss) else None

    def _settle(self, pending: _Pending, step: int, loop: Loop) -> None:
        began = time.monotonic()
        loss = loop.held_out_loss(pending.settle_at)
        seconds = time.monotonic() - began
        pending.seconds += seconds
        self.spent_seconds += seconds
        self._pending = None
        self._observe(pending, step, loss)

    def _observe(self, pending: _Pending, step: int, other_loss: float | None) -> None:
        """Record each arm against the other half of its pair, whose loss is `other_loss`."""
        before = self._features(RankMap(pending.before))
        progress = pending.step / self._schedule.steps
        for arm in pending.arms:
            pair = (arm["loss"], other_loss) if pending.made else (other_loss, arm["loss"])
            losses = [math.inf if loss is None else loss for loss in pair]
            gain = losses[0] - losses[1]
            after = self._features(RankMap(arm["rank_map"]))
            if not math.isfinite(gain):
                self.record(step, "observe", "a probed map diverged; left out", move=arm["move"])
                continue
            self._observations.append(Observation(before, after, progress, gain))
            self.record(
                step,
                "observe",
                f"{'made' if pending.made else 'probed'} at step {pending.step}: "
                f"gain {gain:+.2g} after {pending.settle_at - pending.step} steps",
                move=arm["move"],
                realised={
                    "gain": gain,
                    "held_out_before": losses[0],
                    "held_out_after": losses[1],
                    "made": pending.made,
                },
                observation=self._observations[-1].to_json(),
                probe={
                    "steps": pending.settle_at - pending.step,
                    "seconds": round(pending.seconds / len(pending.arms), 3),
                },
            )

    # -- records --------------------------------------------------------------------------------

    def _features(self, rank_map: RankMap) -> tuple[float, ...]:
        return self._cells.features(rank_map, self._budget.r_ref)

    def _labels(self, move: Move) -> dict[str, str]:
        return {"from": label(move.source), "to": label(move.target)}


def _earlier_observations(file: str) -> list[Observation]:
    """Return the observations in an earlier run's ranks.jsonl; none where no file is named."""
    if not file:
        return []
    events = [event.to_json() for event in RankHistory(Path(file)).read()]
    return [Observation.from_json(e["observation"]) for e in events if "observation" in e]


def _why_not(model: Fit | None, moves: list[Move]) -> str:
    if model is None:
        return "ranks stay: nothing was observed yet"
    if not model.gate.passed:
        return f"ranks stay: {model.gate.reason}"
    if not moves:
        return "ranks stay: no parameter-neutral move is left within r_min and r_max"
    return "ranks stay: no candidate's predicted gain is above zero with confidence"


def _prediction_facts(model: Fit | None, prediction: Prediction | None) -> dict[str, Any]:
    gate = model.gate if model else None
    return {
        "gain": prediction.gain if prediction else None,
        "lower": prediction.lower if prediction else None,
        "observations": gate.observations if gate else 0,
        "spearman": gate.spearman if gate else None,
        "mlp_error": gate.mlp_error if gate else None,
        "ridge_error": gate.ridge_error if gate else None,
        "constant_error": gate.constant_error if gate else None,
    }
