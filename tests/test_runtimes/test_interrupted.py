"""An answer broken off between two layers: the next one is what it would have been without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hydra_mobile.api.model import load

QUESTION = "What is in the image?"


@pytest.mark.parametrize("call", [2, 4])
def test_the_question_after_an_interrupted_one_is_answered_as_ever(
    tiny_base: Path, call: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    model = load(tiny_base)
    wanted = model.ask(image, QUESTION, max_new_tokens=6)
    calls = 0

    def press(module: Any, inputs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt

    last = model.runtime.model.language_model.model.layers[-1]  # type: ignore[attr-defined]
    hook = last.register_forward_pre_hook(press)
    with pytest.raises(KeyboardInterrupt):
        model.ask(image, "Is there a red car in the image?", max_new_tokens=6)
    hook.remove()
    found = model.ask(image, QUESTION, max_new_tokens=6)
    assert (found.ids, found.text) == (wanted.ids, wanted.text)
    assert found.timings.encode is not None
