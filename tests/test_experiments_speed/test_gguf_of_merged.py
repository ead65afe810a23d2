"""The GGUF file of a merged model holds its weights, in the order that llama.cpp rotates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from experiments.inference_speed.gguf_file import (
    gguf_name,
    interleaved,
    tensors,
    text_settings,
    write_gguf,
)
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.registry import fetch

#: Half a step of a block's grid, as a share of the block's largest weight.
_BOUNDS = {"f32": 0.0, "q8_0": 0.51 / 127, "q4_0": 1.01 / 8}


@pytest.fixture(scope="module")
def merged() -> Path:
    return fetch("tiny")


@pytest.mark.parametrize("form", ["f32", "q8_0", "q4_0"])
def test_tensors_come_back_within_the_bound_of_the_form(
    merged: Path, tmp_path: Path, form: str
) -> None:
    count = write_gguf(merged, tmp_path / "m.gguf", form)
    read: Any = gguf.GGUFReader(tmp_path / "m.gguf")
    found = {t.name: t for t in read.tensors}
    expected = dict(tensors(merged))
    assert set(found) == set(expected)
    assert count == sum(values.size for values in expected.values())
    for name, values in expected.items():
        tensor = found[name]
        back = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(values.shape)
        bound = _BOUNDS[form] if values.ndim == 2 else 0.0
        blocks = np.abs(values.reshape(-1, 32)).max(axis=1, keepdims=True)
        error = np.abs(back - values).reshape(-1, 32)
        # Scales are stored in fp16: half a thousandth more.
        assert (error <= blocks * bound * 1.001 + blocks * 5e-4 * (bound > 0)).all(), name
        assert tensor.tensor_type == gguf.GGMLQuantizationType[form.upper()] or values.ndim == 1


def test_what_a_form_takes_on_disk(merged: Path, tmp_path: Path) -> None:
    sizes = {}
    for form in ("f32", "q8_0", "q4_0"):
        write_gguf(merged, tmp_path / form, form)
        read: Any = gguf.GGUFReader(tmp_path / form)
        matrices = [t for t in read.tensors if len(t.shape) == 2]
        sizes[form] = 8 * sum(t.n_bytes for t in matrices) / sum(t.n_elements for t in matrices)
    assert sizes == {"f32": 32.0, "q8_0": 8.5, "q4_0": 4.5}


def test_settings_and_vocabulary_are_in_the_file(merged: Path, tmp_path: Path) -> None:
    write_gguf(merged, tmp_path / "m.gguf", "f32")
    fields: Any = gguf.GGUFReader(tmp_path / "m.gguf").fields
    text = text_settings(merged)
    assert fields["general.architecture"].contents() == "llama"
    assert fields["llama.attention.head_count_kv"].contents() == text.num_key_value_heads
    assert fields["llama.rope.freq_base"].contents() == text.rope_parameters["rope_theta"]
    assert len(fields["tokenizer.ggml.tokens"].contents()) == text.vocab_size
    assert fields["tokenizer.ggml.eos_token_id"].contents() == text.eos_token_id


def test_rotation_of_neighbours_is_rotation_of_halves() -> None:
    heads, size, inner = 2, 8, 5
    generator = np.random.default_rng(0)
    weight: NDArray[Any] = generator.normal(size=(heads * size, inner)).astype(np.float32)
    x = generator.normal(size=inner).astype(np.float32)
    angle = 0.7 ** np.arange(size // 2)
    cos, sin = np.cos(angle), np.sin(angle)
    halves = (weight @ x).reshape(heads, 2, size // 2)
    a, b = halves[:, 0], halves[:, 1]
    theirs = np.stack([a * cos - b * sin, b * cos + a * sin], axis=1)
    pairs = (interleaved(weight, heads) @ x).reshape(heads, size // 2, 2)
    a, b = pairs[..., 0], pairs[..., 1]
    ours = np.stack([a * cos - b * sin, b * cos + a * sin], axis=-1)
    np.testing.assert_allclose(ours.swapaxes(1, 2), theirs, rtol=1e-5)


def test_names_are_told_apart_and_strange_ones_refused(merged: Path) -> None:
    names = [gguf_name(name) for name in load_file(merged / "model.safetensors")]
    language = [name for name in names if name]
    assert len(language) == len(set(language)) == 2 + 9 * 2
    assert gguf_name("vision_tower.stem.weight") is None
    with pytest.raises(ArtifactError, match="q_proj"):
        gguf_name("language_model.model.layers.0.self_attn.q_proj.bias")
