"""A model in training as the rank controller sees it: steps that can be taken and taken back.

The `Loop` of `dynamic/controller.py` over a model and a torch optimizer, for every training loop.
It knows ranks, snapshots and held-out losses, and takes steps through a `Stepper`. A snapshot is in
main memory and holds what trains, buffers, optimizer state and the random state; going back also
goes back in rank.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hydra_mobile.adapters import broadcast
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.lora import live_rank_map
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.resize import Shrink, resize
from hydra_mobile.adapters.snapshot import TensorSnapshot


class Stepper(Protocol):
    """What a probe needs of the training loop that it interrupts. Steps are counted as done."""

    def train(self, step: int, steps: int) -> bool:
        """Take `steps` optimizer steps after step `step`; False if the loss overflowed.

        Gradients must be gone at the end where the result is True.
        """

    def held_out_losses(self, step: int) -> Iterable[float]:
        """Return losses of micro-batches that training has not seen by step `step`, at least one.

        The model is in eval mode and no gradient is recorded.
        """

    def resized(self) -> None:
        """See trained tensors of the model replaced by others."""


@dataclass(frozen=True)
class _Snapshot:
    rank_map: RankMap
    tensors: TensorSnapshot
    random_state: tuple[Any, ...]


class ProbeLoop:
    """Takes probe steps, and takes them back; see the module's docstring.

    Args:
        model: carries LoRA; not a wrapper.
        budget: the parameter budget.
        optimizer: torch's own, not a wrapper.
        stepper: takes the steps.
        seed: the run's seed, for new rows of A.
        shrink: see `resize.py`.
    """

    def __init__(
        self,
        model: nn.Module,
        budget: Budget,
        optimizer: torch.optim.Optimizer,
        stepper: Stepper,
        *,
        seed: int = 0,
        shrink: Shrink = "index",
    ) -> None:
        self._model = model
        self._budget = budget
        self._optimizer = optimizer
        self._stepper = stepper
        self._seed = seed
        self._shrink = shrink

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
        # A step that overflowed may have left gradients behind.
        self._optimizer.zero_grad(set_to_none=True)
        self._resize(snapshot.rank_map, 0)
        snapshot.tensors.put_back(self._tensors(), self._optimizer)
        cpu, cuda, python, numpy = snapshot.random_state
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        random.setstate(python)
        np.random.set_state(numpy)

    def train(self, step: int, steps: int) -> bool:
        """Take the `steps` optimizer steps after step `step`; False if the loss overflowed."""
        training = self._model.training
        self._model.train()
        try:
            with torch.enable_grad():
                return self._stepper.train(step, steps)
        finally:
            self._model.train(training)

    @torch.no_grad()
    def held_out_loss(self, step: int) -> float:
        """Return the mean held-out loss, without dropout, the same on all processes."""
        training = self._model.training
        self._model.eval()
        losses = list(self._stepper.held_out_losses(step))
        self._model.train(training)
        mean = torch.tensor([sum(losses) / len(losses)], dtype=torch.float64)
        return float(broadcast.mean(mean)[0])

    def resize(self, rank_map: RankMap, step: int) -> None:
        """Change ranks on all processes and compare them afterwards.

        Raises:
            RuntimeError: gradients are still there; those of changed tensors would be lost.
        """
        if any(p.grad is not None for p in self._trained().values()):
            raise RuntimeError("ranks can only change after gradients were dropped")
        self._resize(rank_map, step)
        broadcast.require_same("the ranks", live_rank_map(self._model).digest())

    def _resize(self, rank_map: RankMap, step: int) -> None:
        changed = resize(
            self._model,
            rank_map,
            self._budget,
            [self._optimizer],
            seed=self._seed,
            event=step,
            shrink=self._shrink,
        ).changed
        if changed:
            self._stepper.resized()

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self._model.named_parameters() if p.requires_grad}

    def _tensors(self) -> dict[str, Tensor]:
        return {**self._trained(), **dict(self._model.named_buffers())}
