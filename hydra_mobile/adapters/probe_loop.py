"""A model in training as the rank controllers see it: spectra, losses, steps taken and taken back.

The loop that the controllers of `dynamic/` ask for, over a model and a torch optimizer, for every
training loop. It knows ranks, snapshots and held-out losses, and takes steps through a `Stepper`. A
snapshot is in main memory and holds what trains, buffers, optimizer state and the random state;
going back also goes back in rank.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hydra_mobile.adapters import broadcast
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.compensation import Compensate
from hydra_mobile.adapters.lora import live_rank_map
from hydra_mobile.adapters.lora_layers import ADAPTER, lora_layers, lora_tensors
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.resize import Shrink, resize, svd_transforms
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
        compensate: what of a module falls as reference rank / rank.
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
        compensate: Compensate = "neither",
    ) -> None:
        self._model = model
        self._budget = budget
        self._optimizer = optimizer
        self._stepper = stepper
        self._seed = seed
        self._shrink = shrink
        self._compensate = compensate

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

    def held_out_loss(self, step: int) -> float:
        """Return the mean held-out loss, without dropout, the same on all processes."""
        losses = self.held_out_losses(step)
        return sum(losses) / len(losses)

    @torch.no_grad()
    def held_out_losses(self, step: int, batches: int | None = None) -> list[float]:
        """Return held-out losses by micro-batch, without dropout, means over all processes.

        Args:
            step: optimizer steps done.
            batches: how many micro-batches; None: all that the stepper has.
        """
        training = self._model.training
        self._model.eval()
        losses = list(itertools.islice(iter(self._stepper.held_out_losses(step)), batches))
        self._model.train(training)
        means: list[float] = broadcast.mean(torch.tensor(losses, dtype=torch.float64)).tolist()
        return means

    @torch.no_grad()
    def spectra(self) -> dict[str, list[float]]:
        """Return the singular values of s B A by module, falling, one per rank, in float64.

        From the r x r core: with B = Qb Rb and A^T = Qa Ra, B A and Rb Ra^T have the same.
        """
        layers = lora_layers(self._model)
        found: dict[str, list[float]] = {}
        for name, (a, b) in lora_tensors(self._model).items():
            core = torch.linalg.qr(b.double()).R @ torch.linalg.qr(a.double().T).R.T
            values = layers[name].scaling[ADAPTER] * torch.linalg.svdvals(core)
            # A rank above the matrix's own width has directions that carry nothing.
            found[name] = [*values.tolist(), *[0.0] * (len(a) - len(values))]
        return found

    @contextmanager
    def truncated(self, ranks: Mapping[str, int]) -> Iterator[None]:
        """Keep only the first directions of modules inside the block; exact afterwards.

        Args:
            ranks: how many directions to keep, by module; the tensors' shapes stay.
        """
        tensors = lora_tensors(self._model)
        whole = {name: tensors[name][1].detach().clone() for name in ranks}
        try:
            with torch.no_grad():
                for name, rank in ranks.items():
                    a, b = tensors[name]
                    of_a, of_b = svd_transforms(a.detach(), b.detach(), rank)
                    b.copy_((b.double() @ of_b) @ of_a)
            yield
        finally:
            with torch.no_grad():
                for name, kept in whole.items():
                    tensors[name][1].copy_(kept)

    def resize(self, rank_map: RankMap, step: int, shrink: Shrink | None = None) -> None:
        """Change ranks on all processes and compare them afterwards.

        Args:
            rank_map: the ranks afterwards.
            step: optimizer steps done.
            shrink: how components are dropped; None: as the loop was told.

        Raises:
            RuntimeError: gradients are still there; those of changed tensors would be lost.
        """
        if any(p.grad is not None for p in self._trained().values()):
            raise RuntimeError("ranks can only change after gradients were dropped")
        self._resize(rank_map, step, shrink)
        broadcast.require_same("the ranks", live_rank_map(self._model).digest())

    def _resize(self, rank_map: RankMap, step: int, shrink: Shrink | None = None) -> None:
        changed = resize(
            self._model,
            rank_map,
            self._budget,
            [self._optimizer],
            seed=self._seed,
            event=step,
            shrink=shrink or self._shrink,
            compensate=self._compensate,
        ).changed
        if changed:
            self._stepper.resized()

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self._model.named_parameters() if p.requires_grad}

    def _tensors(self) -> dict[str, Tensor]:
        return {**self._trained(), **dict(self._model.named_buffers())}
