"""Eager PyTorch in fp32 with transformers' own cache: what ratios and checks refer to.

A time includes the embedding lookup, the forward pass and the copy of the last logits to numpy.
"""

from __future__ import annotations

from pathlib import Path

from experiments.inference_speed.engines.base import Form, Place
from experiments.inference_speed.engines.runner_engine import WEIGHTS, RunnerEngine


class EagerEngine(RunnerEngine):
    """The merged folder, loaded as it is."""

    runner = "torch"
    note = "eager transformers, fp32"

    @classmethod
    def imported(cls) -> None:
        """Import the runtime."""
        super().imported()
        import transformers.modeling_utils  # noqa: F401 (and torch with it)

    @classmethod
    def make(cls, form: Form, place: Place) -> list[Path]:
        """Nothing is made: the merged weights are the file."""
        return [place.merged / WEIGHTS]

    def _folder(self, form: Form, place: Place) -> Path:
        return place.merged
