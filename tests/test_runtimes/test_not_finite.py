"""Numbers that are not finite end an answer, and the message says where they began."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.runtimes.generation import Generator
from hydra_mobile.runtimes.torch import TorchRuntime

PARTS = {
    "vision": "vision_tower",
    "token embedding": "language_model.model.embed_tokens",
    "text decoder": "language_model.model.layers.1.mlp",
}


def generator(folder: Path, broken: str = "", value: float = float("nan")) -> Generator:
    model = load_model(folder)
    if broken:
        with torch.no_grad():
            next(model.get_submodule(broken).parameters()).fill_(value)
    return Generator(TorchRuntime(model, MobileVLMProcessor.from_pretrained(folder)))


def pixels(answers: Generator) -> np.ndarray:
    size = answers.runner.image_size
    return np.zeros((3, size, size), np.float32)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", PARTS)
def test_the_part_that_broke_is_named(tiny_base: Path, part: str, value: float) -> None:
    answers = generator(tiny_base, PARTS[part], value)
    for _ in range(2):
        with pytest.raises(ArtifactError, match=rf"{part}.*finite"):
            answers.answer("What is it?", lambda: pixels(answers), "a picture")


def test_an_answer_has_a_token(tiny_base: Path) -> None:
    answers = generator(tiny_base)
    for count in (0, -1):
        with pytest.raises(HydraError, match="max_new_tokens"):
            answers.answer("What is it?", max_new_tokens=count)
    assert len(answers.answer("What is it?", max_new_tokens=1, stop=False).ids) == 1
