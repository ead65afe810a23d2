"""What `HydraCallback` refuses before the first step, because a callback cannot do it.

DeepSpeed and FSDP: their parameters are not the model's. Ranks that move where the Trainer's DDP or
DataParallel wrapper, a compiled model or a best checkpoint would keep the tensors of before.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from hydra_mobile.adapters.engine import Hydra
from hydra_mobile.adapters.lora import lora_parameters
from hydra_mobile.adapters.optimizer_state import replace_parameter
from hydra_mobile.core.errors import HydraError

_FOREIGN = ("DEEPSPEED", "FSDP", "XLA", "MEGATRON_LM")


def require_same_model(hydra: Hydra, model: nn.Module) -> None:
    """Raise `HydraError` unless the Trainer trains the engine's model."""
    if model is not hydra.model:
        raise HydraError(
            f"The Trainer trains a {type(model).__name__} that is not the model given to Hydra.",
            "Give both the same object: Hydra(model, ...) and Trainer(model=model, ...); no "
            "model_init, no get_peft_model.",
        )


def require_plain(args: TrainingArguments, optimizer: Any) -> None:
    """Raise `HydraError` where the tensors that train are not the model's."""
    state = getattr(optimizer, "accelerator_state", None)
    kind = getattr(getattr(state, "distributed_type", None), "value", "NO")
    if kind in _FOREIGN or args.deepspeed or args.fsdp:
        name = kind if kind in _FOREIGN else "DeepSpeed" if args.deepspeed else "FSDP"
        raise HydraError(
            f"HydraCallback cannot work under {name}: the tensors that train are not the model's.",
            "Train in one process, or under plain DDP with ranks known from the start "
            "(policy='coarse_fine' and importance=scores).",
        )


def require_movable(args: TrainingArguments, inner: torch.optim.Optimizer) -> None:
    """Raise `HydraError` where something would keep the tensors that a change of rank replaces."""
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


def require_held(hydra: Hydra, inner: torch.optim.Optimizer) -> None:
    """Raise `HydraError` where the optimizer lacks a LoRA tensor."""
    held = {id(p) for group in inner.param_groups for p in group["params"]}
    missing = [n for n, p in lora_parameters(hydra.model).items() if id(p) not in held]
    if missing:
        raise HydraError(
            f"The optimizer does not hold `{missing[0]}` ({len(missing)} LoRA tensors in all).",
            "Build the optimizer after Hydra(model, ...), or let the Trainer build it.",
        )
