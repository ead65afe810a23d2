"""Moving ranks under the transformers `Trainer`: a callback that calls the engine.

The Trainer's order at a step's end is optimizer.step, scheduler.step, zero_grad, on_step_end,
checkpoint. `on_step_end` is therefore the moment at which no gradient exists and a checkpoint still
comes after: ranks change there, in the model and in the optimizer inside accelerate's.

What cannot be done from a callback is refused before the first step (`trainer_checks.py`). Ranks
that are known from the start (importance given, policy coarse_fine) train under DDP.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hydra_mobile.adapters import broadcast
from hydra_mobile.adapters.dynamic.controller import RankController
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.engine import Hydra
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.int4_grid import GROUP
from hydra_mobile.adapters.integrations.batch_stepper import BatchStepper, LossFn, model_loss
from hydra_mobile.adapters.integrations.trainer_checks import (
    require_held,
    require_movable,
    require_plain,
    require_same_model,
)
from hydra_mobile.adapters.probe_loop import ProbeLoop
from hydra_mobile.adapters.qat import FakeQuant
from hydra_mobile.adapters.qat_schedule import first_step, renews
from hydra_mobile.core.errors import ConfigError, HydraError

_LOG = logging.getLogger(__name__)


class HydraCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped for mypy
    """Brings about the ranks of a `Hydra` while a Trainer trains its model."""

    def __init__(
        self,
        hydra: Hydra,
        *,
        probe_batches: Sequence[Any] = (),
        held_out: Sequence[Any] = (),
        loss_fn: LossFn = model_loss,
        qat: nn.Module | None = None,
        qat_share: float = 0.3,
        qat_group: int = GROUP,
    ) -> None:
        """Watch over `hydra.model`.

        Policy `hydra` needs no batches of its own. With `held_out` it also checks, forward only,
        that what an event drops does no harm. The older targets of its dynamic stage probe: a
        callback cannot foresee the batches that the Trainer will draw, so without separate ones
        the ranks stay.

        Args:
            hydra: holds the model that the Trainer is given.
            probe_batches: collated micro-batches on which probes train; best as many as
                probe_steps times the gradient accumulation, and of the training data.
            held_out: collated micro-batches on which probed maps are compared; not trained on.
            loss_fn: the loss of a micro-batch, where you override the Trainer's `compute_loss`.
            qat: the part of the model (the language model, say) whose linears and embeddings are
                rounded to 4 bits, merged, in the last steps (`adapters/qat.py`); None: nothing is.
                A resumed run searches for its scales anew.
            qat_share: share of the steps.
            qat_group: inputs that share a scale.

        Raises:
            ConfigError: one kind of batches without the other.
        """
        needed = hydra.dynamic.target == "paired_probe"
        if bool(probe_batches) != bool(held_out) and (needed or not held_out):
            raise ConfigError(
                "HydraCallback got only one of probe_batches and held_out.",
                "Give both: probes train on the first and are compared on the second.",
            )
        self._hydra = hydra
        self._probe_batches = probe_batches
        self._held_out = held_out
        self._loss_fn = loss_fn
        self._qat = qat
        self._qat_share = qat_share
        self._qat_group = qat_group
        self._quant: FakeQuant | None = None
        self._moves = False
        self._kind_hook: torch.utils.hooks.RemovableHandle | None = None
        self._kind: Literal["image", "text"] = "text"
        self._settled = False
        self._history: RankHistory
        self._main = True

    @property
    def controller(self) -> RankController:
        """What decides rank events; there from `on_train_begin` on."""
        return self._hydra.controller

    # -- the Trainer's events -------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Check that ranks can move under this Trainer, and begin the run or resume it."""
        hydra = self._hydra
        inner = getattr(given["optimizer"], "optimizer", given["optimizer"])
        self._main = bool(state.is_world_process_zero)
        # The trailing directions are read from the adapters; probes need batches of their own.
        able = hydra.dynamic.target == "trailing" or bool(self._held_out)
        self._moves = hydra.moves and able and not self._settled
        require_same_model(hydra, given["model"])
        require_plain(args, given["optimizer"])
        if hydra.waits or self._moves:
            require_movable(args, inner)
        require_held(hydra, inner)
        self._inner = inner
        broadcast.require_same("the first ranks", hydra.rank_map.digest())
        self._rest()
        accumulation = int(args.gradient_accumulation_steps)
        hydra.begin(
            int(state.max_steps),
            self._record,
            accumulation=accumulation,
            held_out_batches=len(self._held_out),
            incumbent_trains=False,
            moves=self._moves,
        )
        stepper = BatchStepper(
            hydra.model,
            inner,
            probe_batches=self._probe_batches,
            held_out=self._held_out,
            loss_fn=self._loss_fn,
            accumulation=accumulation,
            max_grad_norm=args.max_grad_norm or 0.0,
        )
        hydra.attach(
            ProbeLoop(
                hydra.model,
                hydra.budget,
                inner,
                stepper,
                seed=hydra.seed,
                shrink=hydra.shrink,
                compensate=hydra.compensate,
            )
        )
        self._history = RankHistory.of_run(Path(args.output_dir))
        if state.global_step or hydra.restored:
            self._resume(state)
        else:
            self._start()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Begin to watch backward passes when the end of the warm-up is near."""
        self._quantize(int(state.global_step), int(state.max_steps))
        self._hydra.before_step(state.global_step)
        if self._hydra.watches(state.global_step) and self._kind_hook is None:
            self._kind_hook = self._hydra.model.register_forward_pre_hook(
                self._see_kind, with_kwargs=True
            )

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Count a micro-batch that is not the last of its step.

        The Trainer divides a micro-batch's loss by their number, or sums over the tokens of all of
        them. (The last step of an epoch may have fewer; the engine's factor ignores that.)
        """
        self._hydra.after_backward(state.global_step, self._kind)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Count the last micro-batch of a step."""
        self._hydra.after_backward(state.global_step, self._kind)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Do what is due: the end of the warm-up, an event."""
        self._hydra.after_step(int(state.global_step))
        if not self._hydra.watches(state.global_step):
            self._remove_kind_hook()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Add to the Trainer's checkpoint what it has no place for."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self._main and folder.is_dir():
            self._hydra.write_checkpoint(folder, int(state.global_step))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Stop watching, count once more, log what became of the ranks."""
        self._rest()
        if self._quant:
            self._quant.remove()
            self._quant = None
        hydra = self._hydra
        live = hydra.budget.check_live(hydra.model)
        ranks = hydra.rank_map.values()
        _LOG.info(
            "ranks: policy %s, %d to %d; %s LoRA parameters of %s that uniform r=%d has",
            hydra.policy,
            min(ranks),
            max(ranks),
            f"{live:,}",
            f"{hydra.budget.reference:,}",
            hydra.budget.r_ref,
        )
        if hydra.waits:
            _LOG.warning("training ended before the warm-up did: the ranks are still uniform")
        else:
            # A further train() goes on with these ranks.
            self._settled = True

    def _quantize(self, step: int, steps: int) -> None:
        """Put the frozen weights on the grid of export for the last share of the steps."""
        begins = first_step(self._qat_share, steps)
        if self._qat is None or step < begins:
            return
        if self._quant is None:
            self._quant = FakeQuant(self._qat, group=self._qat_group)
            self._quant.watch(self._inner)
        if renews(step, begins, steps):
            self._quant.renew()

    # -- beginning ------------------------------------------------------------------------------

    def _start(self) -> None:
        hydra = self._hydra
        if self._main:
            # Of an earlier run into the same folder.
            self._history.keep_until(-1)
        hydra.start()
        if hydra.moves and not self._moves and not self._settled:
            reason = (
                "ranks stay for the whole run: HydraCallback got no probe_batches and held_out, so "
                "the dynamic stage has nothing to learn from; coarse and fine ranks remain"
            )
            _LOG.warning("dynamic stage %s", reason)
            self.controller.record(0, "abstain", reason)

    def _resume(self, state: TrainerState) -> None:
        """Take up a checkpoint that the Trainer has just loaded."""
        hydra, saved = self._hydra, self._hydra.restored
        if saved is None or saved["step"] != state.global_step:
            found = "nothing" if saved is None else f"step {saved['step']}"
            raise HydraError(
                f"The Trainer is at step {state.global_step}, but {found} was restored by Hydra.",
                "Call hydra.restore(folder) and then "
                "trainer.train(resume_from_checkpoint=folder), with the same folder.",
            )
        progress = saved["progress"]
        before = int(progress["steps"])
        timing = hydra.dynamic
        was = Schedule.of_run(before, timing)
        if was != hydra.schedule and state.global_step < max(was.freeze, hydra.schedule.freeze):
            raise HydraError(
                f"The checkpoint is of a run of {before} steps, this run has {state.max_steps}: "
                "rank events would fall on other steps.",
                "Resume with the same number of steps.",
            )
        # The Trainer's own way may rename tensors of models that changed their layout.
        hydra.load_tensors(Path(saved["folder"]))
        hydra.load(progress)
        if self._main:
            self._history.keep_until(int(state.global_step))
        hydra.restored = None

    # -- inside ---------------------------------------------------------------------------------

    def _see_kind(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Tell batches with pictures from others, so that the rarer kind counts as much."""
        if torch.is_grad_enabled():
            seen = any(k.startswith("pixel_values") and v is not None for k, v in kwargs.items())
            self._kind = "image" if seen else "text"

    def _rest(self) -> None:
        self._hydra.rest()
        self._remove_kind_hook()

    def _remove_kind_hook(self) -> None:
        if self._kind_hook is not None:
            self._kind_hook.remove()
            self._kind_hook = None

    def _record(self, event: dict[str, Any]) -> None:
        _LOG.info("step %d: %s, %s", event["step"], event["event"], event["reason"])
        if self._main:
            self._history.append(event)
