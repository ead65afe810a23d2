"""Stage II as the rank controller sees it: steps that can be taken and taken back.

Joins the controller, which knows maps, to the loop, which knows tensors. A snapshot lies in main
memory and holds what trains, its moments and the random state; going back also goes back in rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from hydra_mobile.adapters import broadcast as agreement
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.lora import live_rank_map
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.resize import resize
from hydra_mobile.adapters.snapshot import TensorSnapshot
from hydra_mobile.config import TrainConfig
from hydra_mobile.training.loop import BatchStream, LossNotFinite, Objective, train_step
from hydra_mobile.training.optimizer import NamedAdamW
from hydra_mobile.training.processes import Processes
from hydra_mobile.training.random_state import RandomState


@dataclass(frozen=True)
class _Snapshot:
    rank_map: RankMap
    tensors: TensorSnapshot
    random_state: RandomState


class RankLoop:
    """The `Loop` of `adapters/dynamic/controller.py` over a stage's model and optimizer.

    Attributes:
        wrapped: the module to call in training; new after every change of a rank.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        budget: Budget,
        optimizer: NamedAdamW,
        stream: BatchStream,
        objective: Objective,
        processes: Processes,
    ) -> None:
        self._model = model
        self._config = config
        self._budget = budget
        self._optimizer = optimizer
        self._stream = stream
        self._objective = objective
        self._processes = processes
        self.wrapped = processes.wrap(model)

    def snapshot(self) -> _Snapshot:
        """Copy everything that decides the next steps."""
        return _Snapshot(
            live_rank_map(self._model),
            TensorSnapshot.take(dict(self._optimizer.named()), self._optimizer.inner),
            RandomState.now(),
        )

    def restore(self, snapshot: _Snapshot) -> None:
        """Go back to a snapshot."""
        self._resize(snapshot.rank_map, 0)
        snapshot.tensors.put_back(dict(self._optimizer.named()), self._optimizer.inner)
        snapshot.random_state.restore()

    def train(self, step: int, steps: int) -> bool:
        """Take steps without logging them; False where the loss overflowed."""
        try:
            for number in range(step, step + steps):
                train_step(
                    self.wrapped,
                    self._objective,
                    self._optimizer,
                    self._stream,
                    self._config.stage2,
                    number,
                    self._processes,
                )
        except LossNotFinite:
            return False
        return True

    @torch.no_grad()
    def held_out_loss(self, step: int) -> float:
        """Return the mean loss on the micro-batches that follow step `step`.

        In the first epoch nothing has trained on them yet. No batch is set aside for this, so
        that the run's own data are those of a run without probes.
        """
        training = self._model.training
        self._model.eval()
        total, count = 0.0, 0
        wanted = self._config.ranks.dynamic.holdout_batches
        while count < wanted:
            for rows in self._stream.step_rows(step):
                total += float(self._objective(self._model, rows))
                count += 1
            step += 1
        self._model.train(training)
        return self._processes.mean(total / count)

    def resize(self, rank_map: RankMap, step: int) -> None:
        """Change ranks on all processes and compare them afterwards."""
        self._resize(rank_map, step)
        agreement.require_same("the ranks", live_rank_map(self._model).digest())

    def agree(self, rank_map: RankMap) -> RankMap:
        """Return process 0's map."""
        return agreement.broadcast(rank_map)

    def _resize(self, rank_map: RankMap, step: int) -> None:
        changed = resize(
            self._model,
            rank_map,
            self._budget,
            [self._optimizer.inner],
            seed=self._config.seed,
            event=step,
            shrink=self._config.ranks.shrink,
        ).changed
        if changed:
            # DDP's reducer holds the tensors that were replaced.
            self.wrapped = self._processes.wrap(self._model)
