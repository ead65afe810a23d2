"""The inner loop of a stage: micro-batches in, optimizer steps out.

One object per stage; `run` builds it and decides what happens between steps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hydra_mobile.adapters.qat_schedule import first_step
from hydra_mobile.config import StageConfig
from hydra_mobile.core.errors import HydraError
from hydra_mobile.training.batch_stream import BatchStream
from hydra_mobile.training.batches import Batch, collate
from hydra_mobile.training.data.packing import Row
from hydra_mobile.training.features import VisionFeatures
from hydra_mobile.training.optimizer import NamedAdamW, learning_rate_factor
from hydra_mobile.training.processes import Processes


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did, in all processes together.

    Attributes:
        loss: of the step, reduced as `loss_reduction` says.
        gradient_norm: before clipping.
        learning_rate_factor: on the peak rate.
        conversations: trained on.
    """

    loss: float
    gradient_norm: float
    learning_rate_factor: float
    conversations: int


class LossNotFinite(HydraError):
    """The loss or the gradient of a step overflowed; the step changed nothing."""


def not_finite(what: str, value: float, step: int) -> LossNotFinite:
    """Return the error for a step, counted from 0, whose loss or gradient norm is `value`."""
    return LossNotFinite(
        f"The {what} became {value} at step {step + 1}.",
        "Lower the learning rate, or train with runtime.precision=fp32. "
        "`--resume` goes on from the last checkpoint, if there is one.",
    )


class Objective:
    """The loss of some rows: tensors to the device, features from the cache, autocast."""

    def __init__(self, accelerator: Accelerator, features: VisionFeatures) -> None:
        self._accelerator = accelerator
        self._features = features

    def announce(self, batches: Iterable[Sequence[Row]]) -> None:
        """Say which batches come next: their pictures are read ahead, if there are workers."""
        if self._features.reads_ahead:
            for rows in batches:
                self._features.prefetch([image for row in rows for image in row.images])

    def __call__(self, model: nn.Module, rows: Sequence[Row]) -> Tensor:
        """Return the mean loss over the supervised tokens of `rows`."""
        return self.of_batch(model, rows, collate(rows))

    def of_batch(self, model: nn.Module, rows: Sequence[Row], batch: Batch) -> Tensor:
        """Return the loss of `rows` already collated to `batch`."""
        inputs = self.inputs(rows, batch)
        with self._accelerator.autocast():
            loss: Tensor = model(**inputs).loss
        return loss

    def continuation(
        self, model: nn.Module, ids: Sequence[int], row: Row, stop: Collection[int], most: int
    ) -> list[int]:
        """Return the greedy tokens behind `ids`, which hold the image tokens of `row`.

        Ends before a token of `stop`, or after `most` tokens.
        """
        device, made = self._accelerator.device, list[int]()
        inputs: dict[str, Any] = {
            "input_ids": torch.tensor([ids], device=device),
            "vision_features": self._features.batch([row.images]).to(device),
        }
        while True:
            with self._accelerator.autocast():
                output = model(**inputs, use_cache=True, logits_to_keep=1)
            token = int(output.logits[0, -1].argmax())
            if token in stop:
                return made
            made.append(token)
            if len(made) == most:
                return made
            inputs = {
                "input_ids": torch.tensor([[token]], device=device),
                "cache": output.cache,
            }

    def inputs(self, rows: Sequence[Row], batch: Batch) -> dict[str, Any]:
        """Return the model's arguments for `rows` collated to `batch`, on the device."""
        device = self._accelerator.device
        mask = batch.attention_mask
        return {
            "input_ids": batch.input_ids.to(device),
            "labels": batch.labels.to(device),
            "position_ids": batch.position_ids.to(device),
            "attention_mask": None if mask is None else mask.to(device),
            "vision_features": self._features.batch([row.images for row in rows]).to(device),
            "use_cache": False,
        }


def qat_begins(config: StageConfig, steps: int) -> int | None:
    """Return the step (from 0) that is the first with 4-bit weights; None: none is."""
    return first_step(config.qat_share, steps) if config.qat and steps else None


class Watcher(Protocol):
    """Who looks at a step while it is taken."""

    def after_backward(self, step: int, rows: Sequence[Row], scale: float) -> None:
        """See the gradients of one micro-batch of `rows` added.

        `scale` times the loss that went backward is the micro-batch's own mean loss.
        """

    def after_update(self, step: int) -> None:
        """See the parameters updated, the gradients still there."""


def train_step(
    model: nn.Module,
    objective: Objective,
    optimizer: NamedAdamW,
    stream: BatchStream,
    config: StageConfig,
    step: int,
    processes: Processes,
    watcher: Watcher | None = None,
) -> StepResult:
    """Take optimizer step `step` (from 0) of `stream`.

    Args:
        model: the module to call, wrapped where there are several processes.
        objective: the loss of some rows.
        optimizer: over everything that trains.
        stream: gives the rows.
        config: clipping, warm-up.
        step: number of the step.
        processes: averages gradients between processes.
        watcher: looks on; must change no parameter but its own.

    Raises:
        LossNotFinite: nothing was changed by this step.
    """
    total = 0.0
    batches = stream.micro_batches(step)
    objective.announce(itertools.chain((b.rows for b in batches), stream.step_rows(step + 1)))
    for number, batch in enumerate(batches, 1):
        # Gradients are averaged over the processes; the shares of all of them sum to one.
        weight = batch.share * processes.count
        with processes.without_sync(model, skip=number < len(batches)):
            loss = objective(model, batch.rows) * weight
            loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
        if watcher and weight:
            watcher.after_backward(step, batch.rows, 1 / weight)
    if processes.count > 1:
        total = processes.mean(total)
    if not math.isfinite(total):
        optimizer.drop_gradients()
        raise not_finite("loss", total, step)
    parameters = optimizer.parameters()
    processes.average_gradients(parameters)
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.clip or math.inf))
    if not math.isfinite(norm):
        # Before the update: one step with it and all weights are lost.
        optimizer.drop_gradients()
        raise not_finite("gradient norm", norm, step)
    factor = learning_rate_factor(step, stream.steps, config.warmup)
    optimizer.step(factor)
    if watcher:
        watcher.after_update(step)
    optimizer.drop_gradients()
    return StepResult(total, norm, factor, stream.conversations(step))
