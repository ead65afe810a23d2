"""Held-out conversations during stage II: their loss, a few answers, which step was best.

Looks and changes nothing: no random number is drawn, so that a run with validation takes the steps
of one without, on the same rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from hydra_mobile.models.templates import IGNORE_INDEX
from hydra_mobile.training.batches import epoch_batches
from hydra_mobile.training.data.packing import Row, Rows
from hydra_mobile.training.loop import Objective
from hydra_mobile.training.setup import TrainingModel

#: Answers are samples to look at, not scores: longer ones are cut.
_LONGEST_ANSWER = 24


@dataclass(frozen=True)
class Standing:
    """What validation has found so far; part of a checkpoint.

    Attributes:
        best_step: steps of stage II after which the loss was lowest; 0: none was measured.
        best_loss: that loss.
        since_best: validations without a lower one.
        stopped: whether training ended early for that.
    """

    best_step: int = 0
    best_loss: float = float("inf")
    since_best: int = 0
    stopped: bool = False

    def after(self, step: int, loss: float, patience: int) -> Standing:
        """Return the standing after a validation; `patience` of 0 never stops."""
        if loss < self.best_loss:
            return Standing(step, loss)
        since = self.since_best + 1
        return replace(self, since_best=since, stopped=bool(patience) and since >= patience)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; nothing before the first validation."""
        return asdict(self) if self.best_step else {}

    @classmethod
    def from_dict(cls, value: dict[str, Any] | None) -> Standing:
        """Read what `to_dict` returned; checkpoints of earlier versions have none."""
        return cls(**value) if value else cls()


class Validation:
    """The held-out rows of a run.

    Args:
        setup: the model.
        rows: what is held out.
        objective: the loss of some rows.
    """

    def __init__(self, setup: TrainingModel, rows: Rows, objective: Objective) -> None:
        self._setup = setup
        self._rows = rows
        self._objective = objective
        config = setup.config
        self._batches = epoch_batches(rows, config.stage2.batch_size, 0, 0)
        self._samples = min(config.runtime.sample_answers, len(rows))

    def loss(self, wrapped: nn.Module) -> float:
        """Return the mean loss over all supervised tokens that are held out."""
        processes = self._setup.processes
        # Sharded weights are gathered in every forward pass: all processes take the same ones.
        sharded = processes.kind == "fsdp"
        own = self._batches if sharded else self._batches[processes.index :: processes.count]
        model = wrapped if sharded else self._setup.model
        total = tokens = 0.0
        with self._looking():
            for batch in own:
                weight = sum(map(self._rows.supervised, batch))
                total += weight * float(self._objective(model, [self._rows[i] for i in batch]))
                tokens += weight
        if processes.count > 1:
            total, tokens = processes.mean(total), processes.mean(tokens)
        return total / tokens

    def answers(self, wrapped: nn.Module) -> list[dict[str, Any]]:
        """Return greedy answers to the first questions of a few rows, spread over all."""
        if not self._samples:
            return []
        model = wrapped if self._setup.processes.kind == "fsdp" else self._setup.model
        places = np.linspace(0, len(self._rows) - 1, self._samples).round().astype(int).tolist()
        with self._looking():
            return [self._answer(model, self._rows[place]) for place in places]

    def _answer(self, model: nn.Module, row: Row) -> dict[str, Any]:
        processor, segment = self._setup.processor, row.segments[0]
        first = next(i for i, label in enumerate(segment.labels) if label != IGNORE_INDEX)
        later = segment.labels[first:]
        end = next((i for i, x in enumerate(later) if x == IGNORE_INDEX), len(later))
        ids, stop = [*row.prefix, *segment.ids[:first]], {*processor.stop_ids}
        made = self._objective.continuation(model, ids, row, stop, _LONGEST_ANSWER)
        image = processor.image_token_id
        asked = [token for token in ids if token != image]
        return {
            "image": str(row.images[0]) if row.images else None,
            **({"images": [*map(str, row.images)]} if len(row.images) > 1 else {}),
            "question": processor.decode(asked),
            "expected": processor.decode([x for x in later[:end] if x not in stop]),
            "answer": processor.decode(made),
        }

    @contextlib.contextmanager
    def _looking(self) -> Iterator[None]:
        model, compiled = self._setup.model, self._setup.config.runtime.compile
        with contextlib.ExitStack() as stack:
            if compiled:
                # Answers have a new length with every token: each would be compiled.
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(torch.no_grad())
            model.eval()
            try:
                yield
            finally:
                model.train()
