"""Engines are held to eager torch before they are timed; on `tiny`, where the engine is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.inference_speed import llama_source, outputs
from experiments.inference_speed.engines import FORMS, engine_class
from experiments.inference_speed.engines.base import Engine, Form, Place
from experiments.inference_speed.measure import make, timed
from experiments.inference_speed.protocol import Protocol, prompt_ids
from hydra_mobile.core.files import sha256_of
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.registry import fetch
from hydra_mobile.runtimes.base import Array

_PROTOCOL = Protocol((8, 16), 4, 1, 8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    merged = fetch("tiny")
    weights = sha256_of(merged / "model.safetensors")
    return Place(merged, weights, tmp_path_factory.mktemp("engines"), (), 64, 32)


@pytest.fixture(scope="module")
def processor(place: Place) -> MobileVLMProcessor:
    return MobileVLMProcessor.from_pretrained(place.merged)


@pytest.fixture(scope="module")
def prompts(processor: MobileVLMProcessor) -> dict[int, list[int]]:
    return {n: prompt_ids(processor, n) for n in _PROTOCOL.prompts}


@pytest.fixture(scope="module")
def reference(place: Place, prompts: dict[int, list[int]]) -> dict[str, Any]:
    file = place.work / "reference.npz"
    outputs.keep_reference(_engine("torch-fp32", place), prompts, 8, file)
    with np.load(file) as kept:
        return dict(kept)


def _form(name: str) -> Form:
    return next(form for form in FORMS if form.name == name)


def _engine(name: str, place: Place) -> Engine:
    form = _form(name)
    kind = engine_class(form.engine)
    if reason := kind.missing():
        pytest.skip(reason)
    if form.engine == "llama.cpp" and not llama_source.is_native():
        pytest.skip("not built: python -m experiments.inference_speed.llama_source")
    kind.make(form, place)
    return kind(form, place, 1)


@pytest.mark.parametrize("name", ["torch-fp32", "llama.cpp-f32", "llama.cpp-q8_0"])
def test_an_engine_says_what_eager_torch_says(
    place: Place, prompts: dict[int, list[int]], reference: dict[str, Any], name: str
) -> None:
    found = outputs.compare(_engine(name, place), prompts, reference, _form(name).bits)
    assert found["passed"], found
    assert found["of_tokens"] == 16


class _Wrong(Engine):
    """Eager torch whose logits are moved by one token once the prompt is read."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner

    @classmethod
    def make(cls, form: Form, place: Place) -> list[Path]:
        return []

    def read(self, ids: list[int]) -> Array:
        return self._inner.read(ids)

    def step(self, token: int) -> Array:
        return np.roll(self._inner.step(token), 1)


def test_an_engine_that_goes_wrong_after_the_first_token_does_not_pass(
    place: Place, prompts: dict[int, list[int]], reference: dict[str, Any]
) -> None:
    wrong = _Wrong(_engine("torch-fp32", place))
    for bits in (32, 8, 4):
        found = outputs.compare(wrong, prompts, reference, bits)
        assert not found["passed"], found
    assert found["equal_tokens"] < found["of_tokens"]


def test_reading_a_prompt_forgets_the_one_before(
    place: Place, prompts: dict[int, list[int]]
) -> None:
    engine = _engine("torch-fp32", place)
    first = engine.read(prompts[8])
    engine.read(prompts[16])
    engine.step(7)
    np.testing.assert_array_equal(engine.read(prompts[8]), first)


def test_times_have_every_phase(place: Place, processor: MobileVLMProcessor) -> None:
    seconds = timed(_engine("torch-fp32", place), processor, _PROTOCOL)
    assert set(seconds) == {
        "load",
        *(f"{phase} {n}" for phase in ("prefill", "decode") for n in (8, 16)),
        "encode",
        "first token",
    }
    assert all(len(values) == 1 and values[0] > 0 for values in seconds.values())
    assert seconds["first token"][0] > seconds["encode"][0]


def test_bits_of_a_weight_count_what_is_tied_once(
    place: Place, processor: MobileVLMProcessor
) -> None:
    facts = make(_form("torch-fp32"), place, processor)
    # What is beyond 32 bits is the header of the weights' file.
    assert 32.0 <= facts["bits_per_weight"] < 36.0
    assert facts["whole"]


def test_the_beginning_that_is_equal() -> None:
    assert outputs.equal_beginning([1, 2, 3], [1, 2, 4]) == 2
    assert outputs.equal_beginning([1, 2], [1, 2]) == 2
    assert outputs.equal_beginning([5], [1]) == 0
