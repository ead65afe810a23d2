"""Questions about pictures as a decoder reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hydra_mobile.benchmarks.types import Sample


@dataclass(frozen=True)
class Prompt:
    """One question: its ids, -1 where the picture is, and the picture's rows [N, hidden]."""

    ids: Tensor
    picture: Tensor

    def embeddings(self, table: Tensor) -> Tensor:
        """Return what the decoder reads [T, hidden]."""
        rows = table[self.ids.clamp(min=0)]
        rows[self.ids < 0] = self.picture
        return rows


def prompts_of(model: Any, processor: Any, samples: Sequence[Sample]) -> list[Prompt]:
    """Return the prompts of questions about pictures."""
    pictures: dict[str, Tensor] = {}
    prompts = []
    for sample in samples:
        assert sample.image is not None
        key = sample.image.key
        if key not in pictures:
            pixels = processor.preprocess(sample.image.open())
            pictures[key] = model.encode_image(torch.from_numpy(pixels)[None])[0]
        parts = processor.prompt(sample.question)
        ids = [*parts.before, *[-1] * len(pictures[key]), *parts.after]
        prompts.append(Prompt(torch.tensor(ids), pictures[key]))
    return prompts
