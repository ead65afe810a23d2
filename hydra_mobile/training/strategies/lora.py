"""LoRA with the ranks of a policy: chosen before the first step, after a warm-up, or moving.

Unless `ranks.importance` asks for a calibration, training begins at uniform ranks; what the warm-up
shows gives the importance, and the first event brings the policy's map. Policy `hydra` then goes
on with the dynamic stage. Uniform LoRA takes none of these paths: its training
is plain peft LoRA, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_mobile.adapters import broadcast as agreement
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.dynamic.cells import groups_of
from hydra_mobile.adapters.dynamic.controller import (
    RankController,
    Settings,
    earlier_observations,
)
from hydra_mobile.adapters.dynamic.performance_model import LEAST_OBSERVATIONS
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.gradient_start import align
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.importance import (
    BackwardImportance,
    Importance,
    learned_update,
    measure,
)
from hydra_mobile.adapters.lora import live_rank_map, lora_parameters
from hydra_mobile.adapters.policies import (
    POLICIES,
    PolicyInput,
    allocate,
    needs_importance,
)
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.files import write_json
from hydra_mobile.training.adapted_modules import adapted_modules
from hydra_mobile.training.data.packing import Row
from hydra_mobile.training.optimizer import NamedAdamW
from hydra_mobile.training.rank_loop import RankLoop
from hydra_mobile.training.strategies import Result, StageTwo, Strategy


class LoraStrategy(Strategy):
    """Trains LoRA; see the module's docstring."""

    def __init__(self, stage: StageTwo) -> None:
        super().__init__(stage)
        self._config = stage.config.ranks
        self._history = RankHistory.of_run(stage.folder)
        setup = stage.setup
        names = adapted_modules(setup.model)
        self.budget = Budget.of(setup.model, names, self._config.r_ref)
        dynamic = self._config.dynamic
        self._schedule = Schedule.of(
            stage.stream.steps, dynamic.warmup, dynamic.every, dynamic.until
        )
        policy = self._config.policy
        self._settings = Settings(
            policy=policy,
            seed=stage.config.seed,
            target=dynamic.target,
            probe_steps=dynamic.probe_steps,
            candidates=dynamic.candidates,
            probe_share=dynamic.probe_share,
            dynamic=policy == "hydra",
            # A forward pass is about a third of a step.
            held_out_steps=dynamic.holdout_batches / (3 * stage.config.stage2.accumulation),
        )
        self._measures = policy in POLICIES and needs_importance(policy)
        # Without an event there is no end of a warm-up that could come too late.
        self._in_warmup = (
            self._measures
            and self._config.importance != "calibration"
            and bool(self._schedule.events)
        )
        self._watching: BackwardImportance | None = None
        self._said = ""
        self._loop: RankLoop | None = None
        self._controller: RankController

    # -- beginning ------------------------------------------------------------------------------

    def start(self) -> None:
        """Choose the first ranks and put the adapters in."""
        names = list(self.budget.cost)
        groups = groups_of(names)
        reason = f"ranks of policy {self._config.policy}"
        # None where A starts at random and no gradient has to be kept.
        gradients: dict[str, Tensor] | None = (
            {} if self._config.initialization == "gradient" else None
        )
        if self._in_warmup:
            first = RankMap(dict.fromkeys(names, self._config.r_ref))
            reason = f"uniform until importance is known, after step {self._schedule.warmup_end}"
            if self._config.importance == "gradient":
                self._watching = BackwardImportance(self.stage.setup.model, names)
        elif self._measures:
            importance = self._calibrate(gradients)
            groups = groups_of(names, importance.mean_of_norms)
            first = self._allocate(importance)
        else:
            first = self._allocate(None)
        first = agreement.broadcast(first)
        if gradients is not None and not gradients:
            self._calibrate(gradients)
        self._inject(first)
        if gradients is not None:
            self._align(gradients)
        self._open(first, groups)
        self._controller.record(0, "initial", reason, ranks=dict(first))
        self.stage.log(self._summary(first))
        if self._config.policy == "hydra":
            self.stage.log(self._plan())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put adapters of the checkpoint's ranks in."""
        rank_map = RankMap(state["controller"]["rank_map"])
        self._inject(rank_map)
        self._open(rank_map, state["controller"]["layer_group"])
        self._controller.load(state["controller"])
        if state["watching"]:
            self._watching = BackwardImportance(self.stage.setup.model, self.budget.cost)
            mine = state["watching"][self.stage.setup.processes.index]
            self._watching.load(mine)
        if self._main:
            rank_map.write(self.stage.folder / "rank_map.json")

    def begin(self, optimizer: NamedAdamW) -> None:
        """See `Strategy`."""
        stage = self.stage
        self._loop = RankLoop(
            stage.setup.model,
            stage.config,
            self.budget,
            optimizer,
            stage.stream,
            stage.objective,
            stage.setup.processes,
        )

    # -- steps ----------------------------------------------------------------------------------

    @property
    def wrapped(self) -> nn.Module:
        """See `Strategy`."""
        return self._running.wrapped

    def parameters(self) -> dict[str, nn.Parameter]:
        """See `Strategy`."""
        return lora_parameters(self.stage.setup.model)

    def before_step(self, step: int) -> None:
        """Begin to watch backward passes when the end of the warm-up is near."""
        if self._watching and step >= self._schedule.warmup_end - self._watched_steps:
            self._watching.watch()
            if self.stage.config.runtime.compile:
                # Compiled layers cannot be looked into; these few steps run without.
                torch.compiler.set_stance("force_eager")

    def after_backward(self, step: int, rows: Sequence[Row]) -> None:
        """Count a watched micro-batch."""
        if self._watching and step >= self._schedule.warmup_end - self._watched_steps:
            kind = "image" if any(row.image for row in rows) else "text"
            # The loss was divided by the accumulation before it went backward.
            self._watching.take(kind, self.stage.config.stage2.accumulation)

    def after_step(self, step: int) -> None:
        """Do what is due: the end of the warm-up, the end of a probe, an event."""
        if self._in_warmup and step == self._schedule.warmup_end:
            self._end_warmup(step)
        self._controller.after_step(step, self._running)

    def _end_warmup(self, step: int) -> None:
        """Bring the policy's map, from what the warm-up showed."""
        if self._watching:
            self._watching.rest()
            if self.stage.config.runtime.compile:
                torch.compiler.set_stance("default")
            importance = self._watching.result(agreement.mean)
            self._watching = None
            source = f"gradients of {importance.batches} micro-batches of the warm-up"
        else:
            importance = learned_update(self.stage.setup.model)
            source = "the updates that the warm-up learned"
        controller = self._controller
        controller.regroup(groups_of(list(self.budget.cost), importance.mean_of_norms))
        rank_map = self._allocate(importance)
        reason = f"ranks of policy {self._config.policy} from {source}"
        controller.put(rank_map, step, "allocate", reason, self._running)
        self.stage.log(self._summary(controller.rank_map))

    # -- records --------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """See `Strategy`."""
        watching = None
        if self._watching:
            watching = self.stage.setup.processes.gather_objects(self._watching.state())
        return {"controller": self._controller.state(), "watching": watching}

    def finish(self) -> Result:
        """Leave the adapters as they are."""
        model = self.stage.setup.model
        live = self.budget.check_live(model)
        controller = self._controller
        facts = {
            "lora": live,
            "probe_steps": controller.spent_steps,
            "probe_seconds": round(controller.spent_seconds, 3),
        }
        if controller.spent_steps:
            self.stage.log(
                f"probes: {controller.spent_steps} steps beside the run's "
                f"{self._schedule.steps}, {controller.spent_seconds:.0f} s"
            )
        return Result(live_rank_map(model), self.budget, facts)

    # -- inside ---------------------------------------------------------------------------------

    @property
    def _main(self) -> bool:
        return self.stage.setup.processes.main

    @property
    def _running(self) -> RankLoop:
        if self._loop is None:
            raise RuntimeError("`begin` comes before the first step")
        return self._loop

    @property
    def _watched_steps(self) -> int:
        """Steps at the end of the warm-up whose backward passes are watched."""
        per_step = self.stage.config.stage2.accumulation * self.stage.setup.processes.count
        wanted = math.ceil(self._config.calibration_batches / per_step)
        return min(wanted, self._schedule.warmup_end)

    def _open(self, rank_map: RankMap, groups: Mapping[str, int]) -> None:
        dynamic = self._config.dynamic
        earlier: tuple[Any, ...] = ()
        if dynamic.observations and self._config.policy == "hydra":
            events = RankHistory(Path(dynamic.observations)).read()
            earlier = earlier_observations([event.to_json() for event in events])
        self._controller = RankController(
            rank_map,
            self.budget,
            self._inputs(None).grid,
            groups,
            self._schedule,
            self._settings,
            self._log,
            earlier,
        )

    def _inject(self, rank_map: RankMap) -> None:
        self.budget.check(rank_map)
        model = self.stage.setup.model
        self.stage.setup.inject(rank_map)
        self.budget.check_live(model)
        agreement.require_same("the ranks", live_rank_map(model).digest())

    def _align(self, gradients: Mapping[str, Tensor]) -> None:
        """Start A along the gradients, the same on all processes."""
        model = self.stage.setup.model
        mean = {name: agreement.mean(gradient) for name, gradient in gradients.items()}
        caught = align(model, mean, self.stage.config.seed)
        # Decompositions may differ in the last bit between processes.
        agreement.same_tensors(lora_parameters(model).values())
        self.stage.log(
            f"start: A along the gradient of {self._config.calibration_batches} micro-batches, "
            f"{caught:.0%} of its squared norm"
        )

    def _calibrate(self, gradients: dict[str, Tensor] | None = None) -> Importance:
        """Measure importance in passes of its own, shared out between the processes.

        Args:
            gradients: filled with the mean gradients of this process's batches.
        """
        stage = self.stage
        count = math.ceil(self._config.calibration_batches / stage.setup.processes.count)

        def batches() -> Iterator[list[Row]]:
            step, left = 0, count
            while left:
                for rows in stage.stream.step_rows(step):
                    yield rows
                    left -= 1
                    if not left:
                        return
                step += 1

        found = measure(
            stage.setup.model,
            self.budget.cost,
            batches(),
            stage.objective,
            gradients=gradients,
        )
        return found.averaged(agreement.mean)

    def _allocate(self, importance: Importance | None) -> RankMap:
        rank_map = allocate(self._config.policy, self._inputs(importance))
        if importance and self._main:
            write_json(self.stage.folder / "importance.json", vars(importance))
        return rank_map

    def _inputs(self, importance: Importance | None) -> PolicyInput:
        config = self._config
        return PolicyInput(
            budget=self.budget,
            importance=importance.mean_of_norms if importance else None,
            rank_step=config.rank_step,
            r_min=config.r_min,
            r_max=config.r_max or None,
            seed=self.stage.config.seed,
            map_file=Path(config.map_file) if config.map_file else None,
        )

    def _log(self, event: dict[str, Any]) -> None:
        """Record an event, keep rank_map.json true, and say what a person wants to know."""
        # The same reason to abstain is said once; the file has every event.
        if (
            event["event"] not in ("initial", "allocate", "freeze")
            and event["reason"] != self._said
        ):
            self._said = event["reason"]
            kind = "" if event["event"] == "abstain" else f"{event['event']}, "
            self.stage.log(f"step {event['step']}: {kind}{event['reason']}")
        if not self._main:
            return
        self._history.append(event)
        if "ranks" in event:
            RankMap(event["ranks"]).write(self.stage.folder / "rank_map.json")

    def _summary(self, rank_map: RankMap) -> str:
        low, high = min(rank_map.values()), max(rank_map.values())
        live = self.budget.cost_of(rank_map)
        return (
            f"ranks: policy {self._config.policy}, {low} to {high}; {live:,} LoRA parameters of "
            f"{self.budget.reference:,} that uniform r={self._config.r_ref} has"
        )

    def _plan(self) -> str:
        """Say before hours are spent what the dynamic stage can do in this run."""
        dynamic, schedule = self._config.dynamic, self._schedule
        if not schedule.events:
            return "dynamic stage: no events in a run this short"
        head = (
            f"dynamic stage: {len(schedule.events)} events from step {schedule.events[0]} to "
            f"{schedule.freeze}"
        )
        if dynamic.target == "passive":
            return f"{head}, watching the held-out loss; expect it to abstain"
        probed = schedule.affordable(self._settings.event_cost, dynamic.probe_share)
        steps = probed * dynamic.probe_steps * dynamic.candidates
        text = (
            f"{head}; {probed} of them probed, {steps} steps beside the run's {schedule.steps} "
            f"(at most {100 * dynamic.probe_share:g} %)"
        )
        if probed * dynamic.candidates < LEAST_OBSERVATIONS and not dynamic.observations:
            text += (
                f". The model may act from {LEAST_OBSERVATIONS} probes on: in this run it will "
                "only watch. Raise ranks.dynamic.probe_share or lower probe_steps to change that"
            )
        return text
