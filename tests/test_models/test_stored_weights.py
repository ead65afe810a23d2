"""A config.json asks for what the weight files do not hold: told before memory is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import WEIGHT
from safetensors.torch import load_file, save_file
from tiny_families import TINY

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.loading import load_model, load_with_processor
from hydra_mobile.models.registry import base_folder


@pytest.fixture
def base(tmp_path: Path, tiny_base: Path) -> Path:
    return shutil.copytree(tiny_base, tmp_path / "base")


def change(file: Path, edit: Callable[[Any], None]) -> None:
    value = json.loads(file.read_text())
    edit(value)
    file.write_text(json.dumps(value))


def text(key: str, value: Any) -> Callable[[Any], None]:
    return lambda config: config["text_config"].update({key: value})


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (text("vocab_size", 10**11), ("embed_tokens", "320 x 64", f"{10**11} x 64")),
        (text("intermediate_size", 10**10), ("mlp.", "160")),
        (text("num_hidden_layers", 9), ("layers.2.", "config.json")),
        # Lists of this length would be filled before anything is built.
        (text("num_hidden_layers", 10**12), ("num_hidden_layers", "at most")),
        (text("num_labels", 10**11), ("num_labels", "at most")),
        (lambda config: config.update(num_image_tokens=10**11), ("num_image_tokens", "at most")),
        (lambda config: config["vision_config"].update(image_size=10**7), ("projector",)),
        (lambda config: config.update(quantization_config={"bits": 4}), ("quantization_config",)),
    ],
)
def test_what_is_not_in_the_files_is_not_allocated(
    base: Path, edit: Callable[[Any], None], named: tuple[str, ...]
) -> None:
    change(base / "config.json", edit)
    with pytest.raises(ArtifactError) as told:
        load_model(base)
    assert all(word in str(told.value) for word in (*named, str(base)))


@pytest.mark.slow  # building twenty thousand modules takes five seconds
def test_more_modules_than_a_model_has_are_not_built(base: Path) -> None:
    change(base / "config.json", text("num_hidden_layers", 900_000))
    with pytest.raises(ArtifactError, match=r"config\.json.* modules"):
        load_model(base)


@pytest.mark.parametrize("name", ["smolvlm", pytest.param("qwen3_vl", marks=pytest.mark.slow)])
def test_classes_of_transformers_are_compared_too(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    TINY[name](folder)
    change(folder / "config.json", text("vocab_size", 10**11))
    with pytest.raises(ArtifactError, match="100000000000 x 64") as told:
        load_model(folder)
    assert "config.json" in told.value.what
    change(folder / "config.json", text("vocab_size", 0))
    with pytest.raises(ArtifactError, match=r"config\.json"):
        load_model(folder)


def test_weights_that_are_no_floating_point_numbers_are_refused(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    tensors[WEIGHT] = (tensors[WEIGHT] * 100).to(torch.int8)
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="I8") as told:
        load_model(base)
    assert WEIGHT in told.value.what


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_image_tokens", 10**11),
        ("num_image_tokens", 7),
        ("num_image_tokens", "4"),
        ("image_token_id", 5),
        ("image", 3),
        ("image.size", 64),
        ("image.size", 50_000),
    ],
)
def test_pictures_for_another_model_are_refused(base: Path, key: str, value: Any) -> None:
    part, _, inner = key.partition(".")
    change(
        base / "processor_config.json",
        lambda stored: (
            stored[part].update({inner: value}) if inner else stored.update({key: value})
        ),
    )
    with pytest.raises(ArtifactError) as told:
        load_with_processor(base_folder(str(base)))
    assert (inner or part) in str(told.value)
    assert "processor_config.json" in str(told.value)
