"""The inner loop of a stage: micro-batches in, optimizer steps out.

One object per stage; `run` builds it and decides what happens between steps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hydra_mobile.config import StageConfig
from hydra_mobile.core.errors import HydraError
from hydra_mobile.training.batches import Batch, collate, epoch_batches, largest_batch
from hydra_mobile.training.data.packing import Row, Rows
from hydra_mobile.training.features import VisionFeatures
from hydra_mobile.training.optimizer import NamedAdamW, learning_rate_factor
from hydra_mobile.training.processes import Processes


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did."""

    loss: float
    gradient_norm: float
    learning_rate_factor: float
    conversations: int


class LossNotFinite(HydraError):
    """The loss of a step overflowed; the step changed nothing."""


class BatchStream:
    """Which rows belong to which optimizer step: a function of (seed, step) alone.

    Micro-batches are dealt to the processes in turn, so that n processes do what one process
    does with n times the accumulation.
    """

    def __init__(
        self,
        rows: Rows,
        config: StageConfig,
        seed: int,
        process: int = 0,
        count: int = 1,
        by_modality: bool = False,
    ) -> None:
        self.rows = rows
        self._by_modality = by_modality
        self._config = config
        self._seed = seed
        self._process = process
        self._count = count
        self._per_step = config.accumulation * count
        self._epoch = lru_cache(maxsize=2)(self._epoch_batches)
        # Epochs may differ by a batch or two; the first one sets their nominal length.
        self._per_epoch = max(1, math.ceil(len(self._epoch(0)) / self._per_step))
        self.steps = config.steps or max(1, round(config.epochs * self._per_epoch))

    def _epoch_batches(self, epoch: int) -> list[list[int]]:
        return epoch_batches(
            self.rows, self._config.batch_size, self._seed, epoch, self._by_modality
        )

    def step_rows(self, step: int) -> Iterator[list[Row]]:
        """Yield this process's micro-batches of optimizer step `step`, counted from 0."""
        epoch, place = divmod(step, self._per_epoch)
        batches = self._epoch(epoch)
        for offset in range(self._process, self._per_step, self._count):
            index = (place * self._per_step + offset) % len(batches)
            yield [self.rows[i] for i in batches[index]]

    def largest(self) -> list[Row]:
        """Return the largest micro-batch of the first epoch."""
        return [self.rows[i] for i in largest_batch(self.rows, self._epoch(0))]


class Objective:
    """The loss of some rows: tensors to the device, features from the cache, autocast."""

    def __init__(self, accelerator: Accelerator, features: VisionFeatures) -> None:
        self._accelerator = accelerator
        self._features = features

    def announce(self, batches: Iterable[Sequence[Row]]) -> None:
        """Say which batches come next: their pictures are read ahead, if there are workers."""
        if self._features.reads_ahead:
            for rows in batches:
                self._features.prefetch([row.image for row in rows])

    def __call__(self, model: nn.Module, rows: Sequence[Row]) -> Tensor:
        """Return the mean loss over the supervised tokens of `rows`."""
        return self.of_batch(model, rows, collate(rows))

    def of_batch(self, model: nn.Module, rows: Sequence[Row], batch: Batch) -> Tensor:
        """Return the loss of `rows` already collated to `batch`."""
        inputs = self.inputs(rows, batch)
        with self._accelerator.autocast():
            loss: Tensor = model(**inputs).loss
        return loss

    def inputs(self, rows: Sequence[Row], batch: Batch) -> dict[str, Any]:
        """Return the model's arguments for `rows` collated to `batch`, on the device."""
        device = self._accelerator.device
        mask = batch.attention_mask
        return {
            "input_ids": batch.input_ids.to(device),
            "labels": batch.labels.to(device),
            "position_ids": batch.position_ids.to(device),
            "attention_mask": None if mask is None else mask.to(device),
            "vision_features": self._features.batch([row.image for row in rows]).to(device),
            "use_cache": False,
        }


class Watcher(Protocol):
    """Who looks at a step while it is taken."""

    def after_backward(self, step: int, rows: Sequence[Row]) -> None:
        """See the gradients of one micro-batch of `rows` added."""

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
        config: accumulation, clipping, warm-up.
        step: number of the step.
        processes: averages gradients between processes.
        watcher: looks on; must change no parameter but its own.

    Raises:
        LossNotFinite: nothing was changed by this step.
    """
    total, conversations = 0.0, 0
    batches = list(stream.step_rows(step))
    objective.announce(itertools.chain(batches, stream.step_rows(step + 1)))
    for number, rows in enumerate(batches, 1):
        with processes.without_sync(model, skip=number < len(batches)):
            loss = objective(model, rows) / config.accumulation
            loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
        conversations += sum(len(row.segments) for row in rows)
        if watcher:
            watcher.after_backward(step, rows)
    if processes.count > 1:
        total = processes.mean(total)
        conversations *= processes.count
    if not math.isfinite(total):
        optimizer.drop_gradients()
        raise LossNotFinite(
            f"The loss became {total} at step {step + 1}.",
            "Lower the learning rate, or train with runtime.precision=fp32. "
            "`--resume` goes on from the last checkpoint.",
        )
    parameters = optimizer.parameters()
    processes.average_gradients(parameters)
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.clip or math.inf))
    factor = learning_rate_factor(step, stream.steps, config.warmup)
    optimizer.step(factor)
    if watcher:
        watcher.after_update(step)
    optimizer.drop_gradients()
    return StepResult(total, norm, factor, conversations)
