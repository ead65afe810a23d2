"""Which rows belong to which optimizer step, and how much each micro-batch of it weighs.

Epochs follow each other without a seam: a step that begins at the end of one epoch goes on with
the next, so that every epoch trains on each record once.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from hydra_mobile.config import StageConfig
from hydra_mobile.training.batches import epoch_batches, largest_batch
from hydra_mobile.training.data.packing import Row, Rows


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together.

    Attributes:
        rows: the rows.
        share: of the step's loss; the shares of all processes sum to 1. 0 where the stage has
            ended and this process only takes part in the exchange of gradients.
    """

    rows: list[Row]
    share: float


class BatchStream:
    """The micro-batches of a stage: a function of (seed, step) alone.

    They are dealt to the processes in turn, so that n processes do what one process does with n
    times the accumulation.

    Attributes:
        rows: all rows.
        steps: optimizer steps of the stage; the last one may hold fewer micro-batches.
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
        # Numbers of the micro-batches with which the epochs begin, as far as they were needed.
        self._starts = [0]
        # Rows of one conversation make equally many batches in every epoch, whatever the order.
        self._even = bool((rows.conversations == 1).all())
        self._total = self._batches_of_stage()
        self.steps = config.steps or math.ceil(self._total / self._per_step)

    def micro_batches(self, step: int) -> list[MicroBatch]:
        """Return this process's micro-batches of optimizer step `step`, counted from 0.

        Every process has equally many. With `loss_reduction: tokens` a micro-batch weighs by its
        supervised tokens among those of the whole step: the loss is the mean over tokens, however
        the step is split.
        """
        numbers = self._trained(step)
        weights = self._weights(numbers)
        total = sum(weights)
        share = {number: w / total for number, w in zip(numbers, weights, strict=True)}
        columns = math.ceil(len(numbers) / self._count)
        own = range(numbers[0] + self._process, numbers[0] + columns * self._count, self._count)
        return [MicroBatch(self._rows(number), share.get(number, 0.0)) for number in own]

    def following(self, step: int, count: int) -> list[tuple[list[Row], float]]:
        """Return `count` micro-batches of this process from `step` on, each with a factor.

        The mean of factor times mean loss, over all processes, is reduced as `loss_reduction`
        says: a loss to compare with those of the steps.
        """
        first = step * self._per_step
        numbers = range(first, first + count * self._count)
        weights = self._weights(numbers)
        mean = sum(weights) / len(weights)
        return [
            (self._rows(number), weight / mean)
            for number, weight in list(zip(numbers, weights, strict=True))[
                self._process :: self._count
            ]
        ]

    def conversations(self, step: int) -> int:
        """Return how many conversations all processes train on in optimizer step `step`."""
        indices = [i for number in self._trained(step) for i in self._indices(number)]
        return int(self.rows.conversations[indices].sum())

    def step_rows(self, step: int) -> Iterator[list[Row]]:
        """Yield this process's micro-batches of `step`, also of steps behind the stage's end."""
        first = step * self._per_step
        for number in range(first + self._process, first + self._per_step, self._count):
            yield self._rows(number)

    def largest(self) -> list[Row]:
        """Return the largest micro-batch of the first epoch."""
        return [self.rows[i] for i in largest_batch(self.rows, self._epoch(0))]

    def _epoch_batches(self, epoch: int) -> list[list[int]]:
        return epoch_batches(
            self.rows, self._config.batch_size, self._seed, epoch, self._by_modality
        )

    def _batches_of_stage(self) -> int:
        """Return the number of micro-batches that all processes train on, by `epochs`."""
        if not self._config.epochs:
            return 0
        whole = math.floor(self._config.epochs)
        begun = self._config.epochs - whole
        total = self._start(whole)
        if begun:
            total += round(begun * (self._start(whole + 1) - total))
        return max(1, total)

    def _start(self, epoch: int) -> int:
        """Return the number of the micro-batch with which `epoch` begins."""
        if self._even:
            return epoch * len(self._epoch(0))
        while len(self._starts) <= epoch:
            self._starts.append(self._starts[-1] + len(self._epoch(len(self._starts) - 1)))
        return self._starts[epoch]

    def _indices(self, number: int) -> list[int]:
        """Return the row indices of micro-batch `number`, counted from the stage's start."""
        if self._even:
            epoch, place = divmod(number, len(self._epoch(0)))
            return self._epoch(epoch)[place]
        while self._starts[-1] <= number:
            self._start(len(self._starts))
        epoch = bisect_right(self._starts, number) - 1
        return self._epoch(epoch)[number - self._starts[epoch]]

    def _trained(self, step: int) -> range:
        """Return the numbers of the micro-batches of `step`, of all processes."""
        first = step * self._per_step
        end = first + self._per_step
        if not self._config.steps and first < self._total:
            end = min(end, self._total)
        return range(first, end)

    def _weights(self, numbers: range) -> list[int]:
        if self._config.loss_reduction == "micro_batches":
            return [1] * len(numbers)
        return [sum(map(self.rows.supervised, self._indices(number))) for number in numbers]

    def _rows(self, number: int) -> list[Row]:
        return [self.rows[index] for index in self._indices(number)]
