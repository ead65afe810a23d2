"""A training loop of one's own around `hydra_mobile.adapters`: plain AdamW, steps and probes.

`Student` takes the steps (`Stepper` in `adapters/probe_loop.py`); `ProbeLoop` takes them back. Data
come by step number, so a probe and the run that follows it see the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from experiments.planted_need.world import World, loss
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.compensation import Compensate
from hydra_mobile.adapters.importance import learned_update
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.probe_loop import ProbeLoop
from hydra_mobile.adapters.rank_map import RankMap

HELD_OUT_BATCHES = 4
#: A held-out loss in optimizer steps: a batch forward is about a third of a step.
HELD_OUT_STEPS = HELD_OUT_BATCHES / 3
#: LoRA's scale, the same for every linear and every rank.
SCALE = 2.0
_RAMP = 10


class Distilled(nn.Module):
    """A language model whose output carries the loss, as peft's AdaLoRA expects it."""

    def __init__(self, language_model: nn.Module) -> None:
        super().__init__()
        self.language_model = language_model

    def forward(self, ids: Tensor, answer: Tensor) -> SimpleNamespace:
        """Return an object with `loss`, the divergence from the teacher's log-probabilities."""
        return SimpleNamespace(loss=loss(self.language_model(input_ids=ids).logits, answer))


def learning_rate(peak: float, step: int, steps: int) -> float:
    """Return the rate of the step after step `step`: a short ramp, then half a cosine to zero."""
    return peak * min(1.0, (step + 1) / _RAMP) * 0.5 * (1 + math.cos(math.pi * step / steps))


class Student:
    """A base with LoRA in training.

    Attributes:
        loop: takes probe steps back and changes ranks.
        taken: optimizer steps, those of probes included.
        judged: held-out losses that probes took.
        highest_parameters: most parameters that received a gradient in any step.
    """

    def __init__(
        self,
        world: World,
        first: RankMap,
        steps: int,
        peak: float,
        compensate: Compensate = "neither",
    ) -> None:
        self._world = world
        self._steps = steps
        self._peak = peak
        self.model = Distilled(world.student())
        self.budget = ledger(world)
        self.taken = 0
        self.judged = 0
        self.highest_parameters = 0
        r_ref = self.budget.r_ref
        inject(
            self.model,
            first,
            r_ref=r_ref,
            alpha_ref=SCALE * r_ref,
            seed=world.seed,
            compensate=compensate,
        )
        parameters = list(lora_parameters(self.model).values())
        self.optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=0.0, fused=True)
        self.loop = ProbeLoop(
            self.model,
            self.budget,
            self.optimizer,
            self,
            seed=world.seed,
            compensate=compensate,
        )

    def step(self, step: int, after_backward: Callable[[], None] = lambda: None) -> float:
        """Take the optimizer step after step `step` and return the loss before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self._peak, step, self._steps)
        value = self.model(*self._world.batch(step)).loss
        value.backward()
        after_backward()
        # What receives gradients is what trains; `resize` compares it with the live tensors.
        trained = sum(
            p.numel()
            for g in self.optimizer.param_groups
            for p in g["params"]
            if p.grad is not None
        )
        self.highest_parameters = max(self.highest_parameters, trained)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.taken += 1
        return value.item()

    # -- the `Stepper` of `self.loop` -------------------------------------------------------------

    def train(self, step: int, steps: int) -> bool:
        """Take steps; False if the loss overflowed."""
        return all(math.isfinite(self.step(number)) for number in range(step, step + steps))

    def held_out_losses(self, step: int) -> Iterator[float]:
        """Return the losses of the batches that follow step `step`."""
        self.judged += 1
        return (self._loss(self._world.batch(step + i)) for i in range(HELD_OUT_BATCHES))

    def resized(self) -> None:
        """Do nothing: no wrapper holds the tensors."""

    @torch.no_grad()
    def change(self) -> dict[str, float]:
        """Return the Frobenius norm of what each linear has learned, s B A."""
        return learned_update(self.model).mean_of_norms

    # -- the result -------------------------------------------------------------------------------

    def final_loss(self) -> float:
        """Return the loss on the world's fixed held-out set."""
        return self._loss(self._world.held_out)

    @torch.no_grad()
    def _loss(self, batch: tuple[Tensor, Tensor]) -> float:
        value: Any = self.model(*batch).loss
        return float(value)


def ledger(world: World) -> Budget:
    """Return the budget, with names as `Distilled` has them."""
    model = Distilled(world.student())
    return Budget.of(model, [f"language_model.{name}" for name in world.names], world.r_ref)
