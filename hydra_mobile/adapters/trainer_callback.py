"""Moving ranks under the transformers `Trainer`: a callback that watches, allocates and resizes.

The Trainer's order at a step's end is optimizer.step, scheduler.step, zero_grad, on_step_end,
checkpoint. `on_step_end` is therefore the moment at which no gradient exists and a checkpoint still
comes after: ranks change there, in the model and in the optimizer inside accelerate's.

What it refuses, before the first step, because it cannot be done from a callback: DeepSpeed and
FSDP (their parameters are not the model's); ranks that move where the Trainer's DDP or
DataParallel wrapper, a compiled model or a best checkpoint would keep the tensors of before.
Ranks that are known from the start (importance given, policy coarse_fine) train under DDP.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hydra_mobile.adapters import broadcast as agreement
from hydra_mobile.adapters.dynamic.cells import groups_of
from hydra_mobile.adapters.dynamic.controller import RankController, Settings
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.hydra import Hydra
from hydra_mobile.adapters.importance import BackwardImportance, learned_update
from hydra_mobile.adapters.lora import lora_parameters
from hydra_mobile.adapters.model_loop import LossFn, ModelLoop, model_loss
from hydra_mobile.adapters.optimizer_state import replace_parameter
from hydra_mobile.core.errors import ConfigError, HydraError

_LOG = logging.getLogger(__name__)
_FOREIGN = ("DEEPSPEED", "FSDP", "XLA", "MEGATRON_LM")


class HydraCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped for mypy
    """Brings about the ranks of a `Hydra` while a Trainer trains its model.

    Attributes:
        controller: decides rank events; there from `on_train_begin` on.
    """

    def __init__(
        self,
        hydra: Hydra,
        *,
        probe_batches: Sequence[Any] = (),
        held_out: Sequence[Any] = (),
        loss_fn: LossFn = model_loss,
    ) -> None:
        """Watch over `hydra.model`.

        A callback cannot foresee the batches that the Trainer will draw, so the dynamic stage of
        policy `hydra` needs batches of its own; without them it abstains.

        Args:
            hydra: holds the model that the Trainer is given.
            probe_batches: collated micro-batches on which probes train; best as many as
                probe_steps times the gradient accumulation, and of the training data.
            held_out: collated micro-batches on which probed maps are compared; not trained on.
            loss_fn: the loss of a micro-batch, where the Trainer's `compute_loss` is your own.

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
        self._dynamic = False
        self._watching: BackwardImportance | None = None
        self._kind_hook: torch.utils.hooks.RemovableHandle | None = None
        self._kind = "text"
        self._settled = False
        self.controller: RankController
        self._loop: ModelLoop
        self._schedule: Schedule
        self._history: RankHistory
        self._main = True

    # -- the Trainer's events -------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Check that ranks can move under this Trainer, and open the books."""
        hydra = self._hydra
        inner = getattr(given["optimizer"], "optimizer", given["optimizer"])
        self._main = bool(state.is_world_process_zero)
        waits = hydra.waits
        self._dynamic = hydra.policy == "hydra" and bool(self._held_out) and not self._settled
        _require_ours(hydra, given["model"])
        _require_plain(args, given["optimizer"])
        if waits or self._dynamic:
            _require_movable(args, inner)
        _require_held(hydra, inner)
        agreement.require_same("the first ranks", hydra.rank_map.digest())
        timing = hydra.dynamic
        self._schedule = Schedule.of(state.max_steps, timing.warmup, timing.every, timing.until)
        if waits and not self._schedule.events:
            raise HydraError(
                f"A run of {state.max_steps} steps is too short: ranks would never be allocated.",
                "Train for more steps, or use policy='uniform'.",
            )
        self._loop = ModelLoop(
            hydra.model,
            hydra.budget,
            inner,
            seed=hydra.seed,
            shrink=hydra.shrink,
            probe_batches=self._probe_batches,
            held_out=self._held_out,
            loss_fn=self._loss_fn,
            accumulation=args.gradient_accumulation_steps,
            max_grad_norm=args.max_grad_norm or 0.0,
        )
        self._history = RankHistory.of_run(Path(args.output_dir))
        self._rest()
        watches = waits and hydra.watches
        self._watching = BackwardImportance(hydra.model, hydra.budget.cost) if watches else None
        self._open(len(self._held_out) / (3 * args.gradient_accumulation_steps))
        if state.global_step or hydra.resume:
            self._go_on(args, state)
        else:
            self._start()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Begin to watch backward passes when the end of the warm-up is near."""
        if self._watching and state.global_step >= self._watch_from(args):
            self._watching.watch()
            if self._kind_hook is None:
                self._kind_hook = self._hydra.model.register_forward_pre_hook(
                    self._see_kind, with_kwargs=True
                )

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Count a watched micro-batch that is not the last of its step."""
        self._take(args, state)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Count the last micro-batch of a step."""
        self._take(args, state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Do what is due: the end of the warm-up, an event."""
        step = int(state.global_step)
        if self._hydra.waits and step == self._schedule.warmup_end:
            self._allocate(step)
        self.controller.after_step(step, self._loop)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Put beside the Trainer's checkpoint what it has no place for."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not self._main or not folder.is_dir():
            return
        progress = {
            "steps": self._schedule.steps,
            "controller": self.controller.state(),
            "watching": self._watching.state() if self._watching else None,
        }
        self._hydra.write_checkpoint(folder, int(state.global_step), progress)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Stop watching, count once more, say what became of the ranks."""
        self._rest()
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

    # -- beginning ------------------------------------------------------------------------------

    def _open(self, held_out_steps: float) -> None:
        hydra, timing = self._hydra, self._hydra.dynamic
        names = list(hydra.budget.cost)
        self.controller = RankController(
            hydra.rank_map,
            hydra.budget,
            hydra.grid,
            groups_of(names, hydra.importance),
            self._schedule,
            Settings(
                policy=hydra.policy,
                seed=hydra.seed,
                target=timing.target,
                probe_steps=timing.probe_steps,
                candidates=timing.candidates,
                probe_share=timing.probe_share,
                dynamic=self._dynamic,
                incumbent_trains=False,
                held_out_steps=held_out_steps,
            ),
            self._log,
        )

    def _start(self) -> None:
        hydra = self._hydra
        if self._main:
            # Of an earlier run into the same folder.
            self._history.keep_until(-1)
        reason = f"ranks of policy {hydra.policy}"
        if hydra.waits:
            reason = f"uniform until importance is known, after step {self._schedule.warmup_end}"
        self.controller.record(0, "initial", reason, ranks=dict(hydra.rank_map))
        if hydra.policy == "hydra" and not self._dynamic and not self._settled:
            reason = (
                "abstained for the whole run: HydraCallback got no probe_batches and held_out, so "
                "the dynamic stage has nothing to learn from; coarse and fine ranks remain"
            )
            _LOG.warning("dynamic stage %s", reason)
            self.controller.record(0, "abstain", reason)

    def _go_on(self, args: TrainingArguments, state: TrainerState) -> None:
        """Take up a checkpoint that the Trainer has just loaded."""
        hydra, saved = self._hydra, self._hydra.resume
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
        was = Schedule.of(before, timing.warmup, timing.every, timing.until)
        if was != self._schedule and state.global_step < max(was.freeze, self._schedule.freeze):
            raise HydraError(
                f"The checkpoint is of a run of {before} steps, this run has {state.max_steps}: "
                "rank events would fall on other steps.",
                "Resume with the same number of steps.",
            )
        # The Trainer's own way may rename tensors of models that changed their layout.
        hydra.load_tensors(Path(saved["folder"]))
        self.controller.load(progress["controller"])
        if self._watching and progress["watching"]:
            self._watching.load(progress["watching"])
        if self._main:
            self._history.keep_until(int(state.global_step))
        hydra.resume = None

    # -- importance -----------------------------------------------------------------------------

    def _watch_from(self, args: TrainingArguments) -> int:
        per_step = int(args.gradient_accumulation_steps)
        wanted = math.ceil(self._hydra.dynamic.calibration_batches / per_step)
        return max(0, self._schedule.warmup_end - wanted)

    def _take(self, args: TrainingArguments, state: TrainerState) -> None:
        if self._watching and state.global_step >= self._watch_from(args):
            # The Trainer divides a micro-batch's loss by their number, or sums over the tokens of
            # all of them. (The last step of an epoch may have fewer; this factor ignores that.)
            self._watching.take(self._kind, args.gradient_accumulation_steps)

    def _see_kind(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Tell batches with pictures from others, so that the rarer kind counts as much."""
        if torch.is_grad_enabled():
            seen = any(k.startswith("pixel_values") and v is not None for k, v in kwargs.items())
            self._kind = "image" if seen else "text"

    def _allocate(self, step: int) -> None:
        hydra = self._hydra
        if self._watching:
            importance = self._watching.result(agreement.mean)
            self._rest()
            self._watching = None
            source = f"gradients of {importance.batches} micro-batches of the warm-up"
        else:
            importance = learned_update(hydra.model)
            source = "the updates that the warm-up learned"
        names = list(hydra.budget.cost)
        self.controller.regroup(groups_of(names, importance.mean_of_norms))
        self.controller.put(
            hydra.allocate(importance.mean_of_norms),
            step,
            "allocate",
            f"ranks of policy {hydra.policy} from {source}",
            self._loop,
        )
        hydra.waits = False

    def _rest(self) -> None:
        if self._watching:
            self._watching.rest()
        if self._kind_hook is not None:
            self._kind_hook.remove()
            self._kind_hook = None

    # -- records --------------------------------------------------------------------------------

    def _log(self, event: dict[str, Any]) -> None:
        _LOG.info("step %d: %s, %s", event["step"], event["event"], event["reason"])
        if self._main:
            self._history.append(event)


def _require_ours(hydra: Hydra, model: nn.Module) -> None:
    if model is not hydra.model:
        raise HydraError(
            f"The Trainer trains a {type(model).__name__} that is not the model given to Hydra.",
            "Give both the same object: Hydra(model, ...) and Trainer(model=model, ...); no "
            "model_init, no get_peft_model.",
        )


def _require_plain(args: TrainingArguments, optimizer: Any) -> None:
    state = getattr(optimizer, "accelerator_state", None)
    kind = getattr(getattr(state, "distributed_type", None), "value", "NO")
    if kind in _FOREIGN or args.deepspeed or args.fsdp:
        name = kind if kind in _FOREIGN else "DeepSpeed" if args.deepspeed else "FSDP"
        raise HydraError(
            f"HydraCallback cannot work under {name}: the tensors that train are not the model's.",
            "Train in one process, or under plain DDP with ranks known from the start "
            "(policy='coarse_fine' and importance=scores).",
        )


def _require_movable(args: TrainingArguments, inner: torch.optim.Optimizer) -> None:
    """Raise where something would keep the tensors that a change of rank replaces."""
    from_start = (
        "Give ranks from the start: policy='coarse_fine' (or 'coarse') and importance=scores."
    )
    obstacles = {
        f"{args.world_size} processes: the Trainer wraps the model in DDP once, and a callback "
        "cannot wrap it again": args.world_size > 1,
        f"{args.n_gpu} GPUs in one process (DataParallel)": args.n_gpu > 1,
        "torch_compile": bool(args.torch_compile),
        "fp16, whose loss scaling makes gradients overflow on purpose": bool(args.fp16),
        "auto_find_batch_size, which begins again in mid-run": bool(args.auto_find_batch_size),
    }
    for obstacle, there in obstacles.items():
        if there:
            raise HydraError(f"Ranks cannot move in training with {obstacle}.", from_start)
    if args.load_best_model_at_end:
        raise HydraError(
            "With load_best_model_at_end the best checkpoint may have other ranks than the end.",
            "Switch it off; Hydra.from_checkpoint(base, best_folder) reads any checkpoint.",
        )
    _require_carried(inner)


def _require_carried(optimizer: torch.optim.Optimizer) -> None:
    """Try on a small tensor whether the optimizer's state can follow a change of rank."""
    old, new = (nn.Parameter(torch.ones(4, 3)) for _ in range(2))
    known = inspect.signature(type(optimizer)).parameters
    try:
        settings = {k: v for k, v in optimizer.defaults.items() if k in known}
        trial = type(optimizer)([old], **settings)
        old.grad = torch.ones_like(old)
        trial.step()
    except Exception as error:
        raise HydraError(
            f"{type(optimizer).__name__} could not be tried on a tensor ({error}), so whether its "
            "state can follow a change of rank is not known.",
            "Use AdamW, Adam or SGD.",
        ) from error
    replace_parameter([trial], old, new, _AsItIs())


class _AsItIs:
    """Carries moments unchanged; for the trial."""

    def first(self, moment: Tensor) -> Tensor:
        return moment

    def second(self, moment: Tensor) -> Tensor:
        return moment


def _require_held(hydra: Hydra, inner: torch.optim.Optimizer) -> None:
    held = {id(p) for group in inner.param_groups for p in group["params"]}
    missing = [n for n, p in lora_parameters(hydra.model).items() if id(p) not in held]
    if missing:
        raise HydraError(
            f"The optimizer does not hold `{missing[0]}` ({len(missing)} LoRA tensors in all).",
            "Build the optimizer after Hydra(model, ...), or let the Trainer build it.",
        )
