"""LoRA with the ranks of a policy: the engine of `adapters/engine.py` in our own loop.

Unless `ranks.importance` asks for a calibration, training begins at uniform ranks; what the warm-up
shows gives the importance. Uniform LoRA takes none of these paths: its training is plain peft LoRA,
bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.dynamic.gate import LEAST_OBSERVATIONS
from hydra_mobile.adapters.dynamic.probe_controller import ProbeController
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.engine import Hydra, Source
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.importance import Importance
from hydra_mobile.adapters.lora import lora_parameters
from hydra_mobile.adapters.policies import policy_named
from hydra_mobile.adapters.policies.hydra import start_policy
from hydra_mobile.adapters.probe_loop import ProbeLoop
from hydra_mobile.adapters.qat import FakeQuant
from hydra_mobile.adapters.qat_schedule import renews
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.config import TrainConfig
from hydra_mobile.core.errors import ArtifactError, ConfigError
from hydra_mobile.core.files import write_json
from hydra_mobile.training.adapted_modules import adapted_modules
from hydra_mobile.training.data.packing import Row
from hydra_mobile.training.loop import LossNotFinite, qat_begins, train_step
from hydra_mobile.training.optimizer import NamedAdamW
from hydra_mobile.training.strategies import Result, StageTwo, Strategy
from hydra_mobile.training.strategies.calibration import calibrate, start_along


def require_map_file(config: TrainConfig) -> None:
    """Raise unless `ranks.map_file` names a file.

    Raises:
        ConfigError: it is empty.
        ArtifactError: there is no such file.
    """
    file = config.ranks.map_file
    if not file:
        raise ConfigError(
            f"Rank policy `{config.ranks.policy}` needs the ranks of another run.",
            "Set ranks.map_file to its ranks.jsonl.",
            where="ranks.map_file",
        )
    if not Path(file).is_file():
        raise ArtifactError(
            f"{file} is missing: expected the ranks of a run.",
            "Set ranks.map_file to its ranks.jsonl.",
            where="ranks.map_file",
        )


class LoraStrategy(Strategy):
    """Trains LoRA; see the module's docstring.

    Attributes:
        hydra: the engine; there from `start` or `restore` on.
    """

    hydra: Hydra

    def __init__(self, stage: StageTwo) -> None:
        super().__init__(stage)
        self.names = adapted_modules(stage.setup.model)
        self._ranks = stage.config.ranks
        self._history = RankHistory.of_run(stage.folder)
        self._last_reason = ""
        self._quant: FakeQuant | None = None
        #: Of a checkpoint that was written with 4-bit weights.
        self._scales: Mapping[str, Tensor] = {}
        self._optimizer: NamedAdamW | None = None

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        """Refuse ranks that make no grid, and a file of ranks that is not there."""
        ranks = config.ranks
        policy = policy_named(ranks.policy)
        if policy.on_grid:
            Grid.of(ranks.r_ref, ranks.rank_step, ranks.r_min, ranks.r_max or None)
        if ranks.policy == "fixed":
            require_map_file(config)

    # -- beginning ------------------------------------------------------------------------------

    def start(self) -> None:
        """Choose the first ranks and put the adapters in."""
        # None where A starts at random and no gradient has to be kept.
        gradients: dict[str, Tensor] | None = (
            {} if self._ranks.initialization == "gradient" else None
        )
        scores = self._scores_before_training(gradients)
        if gradients is not None and not gradients:
            calibrate(self.stage, self.names, gradients)
        self._make(ranks=self._first_ranks(), scores=scores)
        if gradients is not None:
            start_along(self.stage, gradients)
        self._begin()
        self.hydra.start()
        self.stage.log(self._summary(self.hydra.rank_map))
        if self.hydra.moves:
            self.stage.log(self._plan())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put adapters of the checkpoint's ranks in."""
        rank_map = RankMap(state["controller"]["rank_map"])
        self._make(ranks=rank_map)
        self._begin()
        watching = state["watching"]
        # Checkpoints of earlier versions do not tell; without events ranks never waited.
        by_update = self._ranks.importance in ("update", "update_by_kind")
        waits = watching or (by_update and self.hydra.schedule.has_warmup)
        if watching:
            watching = watching[self.stage.setup.processes.index]
        self.hydra.load({"waits": bool(waits), **state, "watching": watching})
        if self._main:
            rank_map.write(self.stage.folder / "rank_map.json")

    def begin(self, optimizer: NamedAdamW) -> None:
        """Wrap the model and give the engine a loop for its probes."""
        super().begin(optimizer)
        loop = ProbeLoop(
            self.stage.setup.model.whole,
            self.hydra.budget,
            optimizer.inner,
            _Stepper(self, optimizer),
            seed=self.hydra.seed,
            shrink=self.hydra.shrink,
            compensate=self.hydra.compensate,
        )
        self.hydra.attach(loop)
        self._optimizer = optimizer

    # -- steps ----------------------------------------------------------------------------------

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the LoRA tensors."""
        return lora_parameters(self.stage.setup.model.whole)

    def before_step(self, step: int) -> None:
        """Begin to watch backward passes when the end of the warm-up is near."""
        self._quantize(step)
        self.hydra.before_step(step)
        if self.hydra.watches(step) and self.stage.config.runtime.compile:
            # Compiled layers cannot be looked into; these few steps run without.
            torch.compiler.set_stance("force_eager")

    def rehearse(self) -> None:
        """Put weights on the grid of export, if the last steps will have them there."""
        self._quantize(self.stage.stream.steps - 1)

    def after_backward(self, step: int, rows: Sequence[Row], scale: float) -> None:
        """Count a watched micro-batch."""
        kind: Literal["image", "text"] = "image" if any(row.images for row in rows) else "text"
        self.hydra.after_backward(step, kind, scale)

    def after_step(self, step: int) -> None:
        """Do what is due: the end of the warm-up, the end of a probe, an event."""
        self.hydra.after_step(step)

    # -- records --------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return the engine's state, with what every process has watched."""
        state = self.hydra.state()
        if state["watching"]:
            state["watching"] = self.stage.setup.processes.gather_objects(state["watching"])
        return state

    def tensors(self) -> dict[str, Tensor]:
        """Return the scales of 4-bit weights, which a resumed run goes on with."""
        return self._quant.scales() if self._quant else {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep the scales for the step that comes next."""
        self._scales = dict(tensors)

    def finish(self) -> Result:
        """Leave the adapters as they are, the base with its own weights."""
        if self._quant:
            self._quant.remove()
            self._quant = None
        hydra, controller = self.hydra, self.hydra.controller
        facts = {
            "lora": hydra.budget.check_live(hydra.model),
            "probe_steps": controller.spent_steps,
            "probe_seconds": round(controller.spent_seconds, 3),
        }
        if controller.spent_steps:
            self.stage.log(
                f"probes: {controller.spent_steps} steps in addition to the run's "
                f"{hydra.schedule.steps}, {controller.spent_seconds:.0f} s"
            )
        return Result(hydra.rank_map, hydra.budget, facts)

    def _record(self, event: dict[str, Any]) -> None:
        """Record an event, keep rank_map.json up to date, and log what a user wants to know."""
        kind, reason = event["event"], event["reason"]
        if kind == "move":
            self.note = f"{len(event['changed'])} ranks moved at step {event['step']}"
        elif kind == "abstain" and event["step"]:
            self.note = f"ranks kept at step {event['step']}"
        # The same reason to keep the map is logged once; the file has every event.
        if kind not in ("initial", "allocate", "freeze") and reason != self._last_reason:
            self._last_reason = reason
            prefix = "" if kind == "abstain" else f"{kind}, "
            self.stage.log(f"step {event['step']}: {prefix}{reason}")
        if self._main:
            self._history.append(event)
            if "ranks" in event:
                RankMap(event["ranks"]).write(self.stage.folder / "rank_map.json")
        if kind == "allocate":
            self._after_warmup(RankMap(event["ranks"]))

    def _after_warmup(self, rank_map: RankMap) -> None:
        if self.stage.config.runtime.compile:
            torch.compiler.set_stance("default")
        if self.hydra.measured:
            self._write_importance(self.hydra.measured)
        self.stage.log(self._summary(rank_map))

    def _quantize(self, step: int) -> None:
        """Put weights on the grid of export for the last share of the steps; renew scales there."""
        stage2, steps = self.stage.config.stage2, self.stage.stream.steps
        begins = qat_begins(stage2, steps)
        if begins is None or step < begins:
            return
        if self._quant is None:
            model = self.stage.setup.model.language_model
            self._quant = FakeQuant(model)
            assert self._optimizer is not None
            self._quant.watch(self._optimizer.inner)
            self.stage.log(
                f"step {step}: {len(self._quant)} weights are rounded to 4 bits from here on; "
                f"{self._quant.extra_bytes / 2**30:.2f} GiB more for their own values"
            )
            if self._scales:
                self._quant.load_scales(self._scales)
                return
        if renews(step, begins, steps):
            self._quant.renew()

    def _write_importance(self, importance: Importance) -> None:
        if self._main:
            write_json(self.stage.folder / "importance.json", vars(importance))

    # -- inside ---------------------------------------------------------------------------------

    @property
    def _main(self) -> bool:
        return self.stage.setup.processes.main

    def _first_ranks(self) -> Mapping[str, int] | None:
        """Return the first ranks where they are not the policy's to choose."""
        return None

    def _rank_policy(self) -> str:
        return self._ranks.policy

    def _make(
        self, ranks: Mapping[str, int] | None, scores: Mapping[str, float] | None = None
    ) -> None:
        """Put the adapters in.

        Args:
            ranks: the first ranks; None leaves them to the policy.
            scores: importance by module, where it was measured before training.
        """
        config = self._ranks
        # A calibration is over before the adapters are there: what is left of it are scores.
        source: Source = "gradient" if config.importance == "calibration" else config.importance
        self.hydra = Hydra(
            self.stage.setup.model.whole,
            r_ref=config.r_ref,
            alpha_ref=config.alpha_ref,
            targets=self.names,
            policy=self._rank_policy(),
            start=config.start,
            rank_step=config.rank_step,
            r_min=config.r_min,
            r_max=config.r_max or None,
            importance=scores if scores is not None else source,
            calibration_batches=config.calibration_batches,
            map_file=config.map_file or None,
            ranks=ranks,
            seed=self.stage.config.seed,
            dropout=config.dropout,
            shrink=config.shrink,
            compensate=config.compensate,
            dynamic=config.dynamic,
            # The projector trains too.
            freeze=False,
        )

    def _begin(self) -> None:
        self.hydra.begin(
            self.stage.stream.steps,
            self._record,
            accumulation=self.stage.config.stage2.accumulation,
            processes=self.stage.setup.processes.count,
            label=self._ranks.policy,
        )

    def _scores_before_training(
        self, gradients: dict[str, Tensor] | None
    ) -> Mapping[str, float] | None:
        """Measure importance before the first step, where the warm-up is not to give it."""
        schedule = Schedule.of_run(self.stage.stream.steps, self._ranks.dynamic)
        first = self._rank_policy()
        if policy_named(first).moves:
            first = start_policy(self._ranks.start, self._ranks.dynamic.target)
        if not policy_named(first).needs_importance:
            return None
        # Where the warm-up ends within the run, it gives the importance.
        if self._ranks.importance != "calibration" and schedule.has_warmup:
            return None
        importance = calibrate(self.stage, self.names, gradients)
        self._write_importance(importance)
        return importance.mean_of_norms

    def _summary(self, rank_map: RankMap) -> str:
        budget = self.hydra.budget
        low, high = min(rank_map.values()), max(rank_map.values())
        return (
            f"ranks: policy {self._ranks.policy}, {low} to {high}; "
            f"{budget.cost_of(rank_map):,} LoRA parameters of {budget.reference:,} that uniform "
            f"r={budget.r_ref} has"
        )

    def _plan(self) -> str:
        """Return what the dynamic stage can do in this run, before hours are spent."""
        dynamic, schedule = self._ranks.dynamic, self.hydra.schedule
        if not schedule.events:
            return "dynamic stage: no rank moves in a run this short"
        controller = self.hydra.controller
        if not isinstance(controller, ProbeController):
            return (
                f"dynamic stage: ranks may move after steps {', '.join(map(str, schedule.events))} "
                f"of {schedule.steps}, where last directions differ {dynamic.margin:g}-fold in "
                "worth; no step is added"
            )
        head = (
            f"dynamic stage: {len(schedule.events)} events from step {schedule.events[0]} to "
            f"{schedule.freeze}"
        )
        if dynamic.target == "passive":
            return f"{head}, watching the held-out loss; expect no rank to move"
        probed = schedule.affordable(controller.event_cost, dynamic.probe_share)
        steps = probed * dynamic.probe_steps * dynamic.candidates
        text = (
            f"{head}; {probed} of them probed, {steps} steps in addition to the run's "
            f"{schedule.steps} (at most {100 * dynamic.probe_share:g}%)"
        )
        if probed * dynamic.candidates < LEAST_OBSERVATIONS and not dynamic.observations:
            text += (
                f". The model may act from {LEAST_OBSERVATIONS} probes on: in this run it will "
                "only watch. Raise ranks.dynamic.probe_share or lower probe_steps to change that"
            )
        return text


class _Stepper:
    """The `Stepper` of `adapters/probe_loop.py`: steps of the run itself, not logged."""

    def __init__(self, strategy: LoraStrategy, optimizer: NamedAdamW) -> None:
        self._strategy = strategy
        self._stage = strategy.stage
        self._optimizer = optimizer

    def train(self, step: int, steps: int) -> bool:
        """Take the steps that the run itself will take next."""
        stage = self._stage
        try:
            for number in range(step, step + steps):
                train_step(
                    self._strategy.wrapped,
                    stage.objective,
                    self._optimizer,
                    stage.stream,
                    stage.config.stage2,
                    number,
                    stage.setup.processes,
                )
        except LossNotFinite:
            return False
        return True

    def held_out_losses(self, step: int) -> Iterator[float]:
        """Return losses of the micro-batches that follow step `step`.

        In the first epoch nothing has trained on them yet. No batch is set aside for this, so
        that the run's own data are those of a run without probes.
        """
        stage = self._stage
        count = stage.config.ranks.dynamic.holdout_batches
        for rows, factor in stage.stream.following(step, count):
            yield factor * float(stage.objective(stage.setup.model, rows))

    def resized(self) -> None:
        """Wrap the model again."""
        self._strategy.wrap()
