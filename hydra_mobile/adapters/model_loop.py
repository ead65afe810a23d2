"""Somebody else's training loop as the rank controller sees it: steps taken on given batches.

The `Loop` of `dynamic/controller.py` over a plain model and a torch optimizer. It cannot know the
batches that the run will see next, so both halves of a pair are trained here, on batches that it
was given. A snapshot lies in main memory and holds what trains, buffers, moments and the random
state; going back also goes back in rank.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hydra_mobile.adapters import broadcast as agreement
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.lora import live_rank_map
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.resize import Shrink, resize
from hydra_mobile.adapters.snapshot import TensorSnapshot

LossFn = Callable[[nn.Module, Any], Tensor]


def model_loss(model: nn.Module, batch: Any) -> Tensor:
    """Return the loss of a model that computes it from the batch's keywords."""
    outputs = model(**batch)
    loss: Tensor = outputs["loss"] if isinstance(outputs, Mapping) else outputs[0]
    return loss


@dataclass(frozen=True)
class _Snapshot:
    rank_map: RankMap
    tensors: TensorSnapshot
    random_state: tuple[Any, ...]


class ModelLoop:
    """Takes probe steps, and takes them back; see the module's docstring."""

    def __init__(
        self,
        model: nn.Module,
        budget: Budget,
        optimizer: torch.optim.Optimizer,
        *,
        seed: int = 0,
        shrink: Shrink = "index",
        probe_batches: Sequence[Any] = (),
        held_out: Sequence[Any] = (),
        loss_fn: LossFn = model_loss,
        accumulation: int = 1,
        max_grad_norm: float = 0.0,
    ) -> None:
        """Begin.

        Args:
            model: carries LoRA.
            budget: the ledger.
            optimizer: torch's own, not a wrapper.
            seed: the run's seed.
            shrink: see `resize.py`.
            probe_batches: micro-batches to train probes on, over and over.
            held_out: micro-batches to compare them on.
            loss_fn: returns a micro-batch's loss.
            accumulation: micro-batches a step.
            max_grad_norm: gradients are clipped to it; 0 means not at all.
        """
        self._model = model
        self._budget = budget
        self._optimizer = optimizer
        self._seed = seed
        self._shrink = shrink
        self._probe_batches = probe_batches
        self._held_out = held_out
        self._loss_fn = loss_fn
        self._accumulation = accumulation
        self._max_grad_norm = max_grad_norm

    def snapshot(self) -> _Snapshot:
        """Copy everything that decides the next steps."""
        return _Snapshot(
            live_rank_map(self._model),
            TensorSnapshot.take(self._tensors(), self._optimizer),
            (
                torch.get_rng_state(),
                torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                random.getstate(),
                np.random.get_state(),
            ),
        )

    def restore(self, snapshot: _Snapshot) -> None:
        """Go back to a snapshot."""
        self._resize(snapshot.rank_map, 0)
        snapshot.tensors.put_back(self._tensors(), self._optimizer)
        self._optimizer.zero_grad(set_to_none=True)
        cpu, cuda, python, numpy = snapshot.random_state
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        random.setstate(python)
        np.random.set_state(numpy)

    def train(self, step: int, steps: int) -> bool:
        """Take steps at the rates that the next step of the run would have."""
        training = self._model.training
        self._model.train()
        try:
            with torch.enable_grad():
                return all(self._step(number) for number in range(steps))
        finally:
            self._model.train(training)

    @torch.no_grad()
    def held_out_loss(self, step: int) -> float:
        """Return the mean loss over the held-out batches, without dropout."""
        training = self._model.training
        self._model.eval()
        losses = [float(self._loss_fn(self._model, self._moved(b))) for b in self._held_out]
        self._model.train(training)
        return sum(losses) / len(losses)

    def resize(self, rank_map: RankMap, step: int) -> None:
        """Change ranks.

        Raises:
            RuntimeError: gradients are still there; those of changed tensors would be lost.
        """
        if any(p.grad is not None for p in self._trained().values()):
            raise RuntimeError("ranks can only change after gradients were dropped")
        self._resize(rank_map, step)
        agreement.require_same("the ranks", live_rank_map(self._model).digest())

    def agree(self, rank_map: RankMap) -> RankMap:
        """Return process 0's map."""
        return agreement.broadcast(rank_map)

    def _step(self, number: int) -> bool:
        self._optimizer.zero_grad(set_to_none=True)
        for micro in range(self._accumulation):
            index = (number * self._accumulation + micro) % len(self._probe_batches)
            loss = self._loss_fn(self._model, self._moved(self._probe_batches[index]))
            if not bool(torch.isfinite(loss)):
                return False
            (loss / self._accumulation).backward()  # type: ignore[no-untyped-call]  # torch's
        if self._max_grad_norm > 0:
            nn.utils.clip_grad_norm_(self._trained().values(), self._max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return True

    def _resize(self, rank_map: RankMap, step: int) -> None:
        resize(
            self._model,
            rank_map,
            self._budget,
            [self._optimizer],
            seed=self._seed,
            event=step,
            shrink=self._shrink,
        )

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self._model.named_parameters() if p.requires_grad}

    def _tensors(self) -> dict[str, Tensor]:
        return {**self._trained(), **dict(self._model.named_buffers())}

    def _moved(self, batch: Any) -> Any:
        device = next(iter(self._trained().values())).device
        return _to(batch, device)


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _to(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_to(item, device) for item in value)
    return value
