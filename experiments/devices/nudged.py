"""What rounding alone does to a bundle's answers: the same questions, pixels times 1 + 1e-7.

A control for comparisons of kernels: another processor's or library's rounding is a nudge too, at
every operator instead of once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hydra_mobile.benchmarks.emojiqa import EmojiQA
from hydra_mobile.benchmarks.types import Sample
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.generation import Generator


def nudged(bundle: Path, emojiqa: EmojiQA, samples: list[Sample], threads: int) -> dict[str, Any]:
    """Answer in Python with pixels that differ in their last digit.

    Returns:
        Question's key -> `ids`, `text`, and `margin`, the first token's lead in logits.
    """
    runner = runtime_class(Bundle.open(bundle).runtime).load(bundle, threads=threads)
    generator = Generator(runner)

    def pixels(sample: Sample) -> Callable[[], Any]:
        def give() -> Any:
            prepared = runner.processor.preprocess(sample.image.open())
            return (prepared * np.float32(1 + 1e-7)).astype(np.float32)

        return give

    found = {}
    for sample in samples:
        answer = generator.answer(
            emojiqa.prompt(sample),
            pixels(sample),
            sample.image.key,
            max_new_tokens=emojiqa.max_new_tokens,
        )
        top = np.sort(answer.first_logits)[-2:]
        found[sample.key] = {
            "ids": answer.ids,
            "text": answer.text,
            "margin": float(top[1] - top[0]),
        }
    return found
