"""Full fine-tuning of the language model: the other end of the scale, with no budget.

Every weight of the language model trains, embeddings included, in fp32 with optimizer state of its
own; the result is a whole model, not an adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from hydra_mobile.training.strategies import Result, Strategy


class FullStrategy(Strategy):
    """Policy `full`."""

    title = "no adapter: every weight of the language model trains"

    def start(self) -> None:
        """Unfreeze the language model."""
        self.stage.setup.model.language_model.requires_grad_(True)
        count = sum(p.numel() for p in self.parameters().values())
        self.stage.log(f"full fine-tuning: {count:,} parameters of the language model train")

    def restore(self, state: Mapping[str, Any]) -> None:
        """Unfreeze the language model again."""
        self.start()

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the language model's weights; a tied head is the embedding."""
        model = self.stage.setup.model.language_model
        return {f"language_model.{name}": p for name, p in model.named_parameters()}

    def finish(self) -> Result:
        """Leave the trained weights in the model."""
        count = sum(p.numel() for p in self.parameters().values())
        return Result(None, None, {"language_model": count})
