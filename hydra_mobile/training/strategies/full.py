"""Full fine-tuning of the language model: the other end of the scale, with no budget.

Every weight of the language model trains, embeddings included, in fp32 with its own moments; the
result is a whole model, not an adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from hydra_mobile.training.data.packing import Row
from hydra_mobile.training.optimizer import NamedAdamW
from hydra_mobile.training.strategies import Result, StageTwo


class FullMethod:
    """Policy `full`."""

    def __init__(self, stage: StageTwo) -> None:
        self._stage = stage
        self._wrapped: nn.Module = stage.session.model

    def start(self) -> None:
        """Thaw the language model."""
        self._stage.session.model.language_model.requires_grad_(True)
        count = sum(p.numel() for p in self.parameters().values())
        self._stage.say(f"full fine-tuning: {count:,} parameters of the language model train")

    def restore(self, state: Mapping[str, Any]) -> None:
        """Thaw the language model again."""
        self.start()

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the language model's weights; a tied head is the embedding."""
        model = self._stage.session.model.language_model
        return {f"language_model.{name}": p for name, p in model.named_parameters()}

    def begin(self, optimizer: NamedAdamW) -> None:
        """See `Method`."""
        session = self._stage.session
        self._wrapped = session.processes.wrap(session.model)

    @property
    def wrapped(self) -> nn.Module:
        """See `Method`."""
        return self._wrapped

    def before_step(self, step: int) -> None:
        """Nothing."""

    def after_backward(self, step: int, rows: Sequence[Row]) -> None:
        """Nothing."""

    def after_update(self, step: int) -> None:
        """Nothing."""

    def after_step(self, step: int) -> None:
        """Nothing."""

    def state(self) -> dict[str, Any]:
        """Nothing beside what trains."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Nothing beside what trains."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing to restore."""

    def finish(self) -> Result:
        """Leave the trained weights in the model."""
        count = sum(p.numel() for p in self.parameters().values())
        return Result(None, None, {"language_model": count})
