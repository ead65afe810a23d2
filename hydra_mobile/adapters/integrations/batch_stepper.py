"""Probe steps on batches that were given: for loops whose next batches cannot be foreseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

LossFn = Callable[[nn.Module, Any], Tensor]


def model_loss(model: nn.Module, batch: Any) -> Tensor:
    """Return the loss of a model that computes it from the batch's keywords."""
    outputs = model(**batch)
    loss: Tensor = outputs["loss"] if isinstance(outputs, Mapping) else outputs[0]
    return loss


class BatchStepper:
    """The `Stepper` of `probe_loop.py` over a plain model and a torch optimizer.

    Args:
        model: carries LoRA.
        optimizer: torch's own, not a wrapper; steps are taken at its present learning rates, those
            of the run's next step.
        probe_batches: micro-batches to train probes on, over and over.
        held_out: micro-batches to compare them on.
        loss_fn: returns a micro-batch's loss.
        accumulation: micro-batches a step.
        max_grad_norm: gradients are clipped to it; 0 means not at all.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        probe_batches: Sequence[Any] = (),
        held_out: Sequence[Any] = (),
        loss_fn: LossFn = model_loss,
        accumulation: int = 1,
        max_grad_norm: float = 0.0,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._probe_batches = probe_batches
        self._held_out = held_out
        self._loss_fn = loss_fn
        self._accumulation = accumulation
        self._max_grad_norm = max_grad_norm

    def train(self, step: int, steps: int) -> bool:
        """Take steps on the first probe batches, whatever `step` is."""
        return all(self._step(number) for number in range(steps))

    def held_out_losses(self, step: int) -> Iterator[float]:
        """Return the losses of the held-out batches."""
        return (float(self._loss_fn(self._model, self._on_device(b))) for b in self._held_out)

    def resized(self) -> None:
        """Do nothing: no wrapper holds the tensors."""

    def _step(self, number: int) -> bool:
        self._optimizer.zero_grad(set_to_none=True)
        for micro in range(self._accumulation):
            index = (number * self._accumulation + micro) % len(self._probe_batches)
            loss = self._loss_fn(self._model, self._on_device(self._probe_batches[index]))
            if not bool(torch.isfinite(loss)):
                return False
            (loss / self._accumulation).backward()  # type: ignore[no-untyped-call]  # torch's
        if self._max_grad_norm > 0:
            nn.utils.clip_grad_norm_(self._trained(), self._max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return True

    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self._model.parameters() if p.requires_grad]

    def _on_device(self, batch: Any) -> Any:
        return _to(batch, self._trained()[0].device)


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _to(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_to(item, device) for item in value)
    return value
