"""What every family promises, over the registry: a new one is tested by being registered."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_families import TINY
from transformers import AutoModelForImageTextToText

from hydra_mobile.core.errors import ArtifactError, MissingPackageError
from hydra_mobile.models.families import FAMILIES, families, family_named, family_of
from hydra_mobile.models.loading import load_model, load_processor
from hydra_mobile.models.registry import base_folder
from hydra_mobile.models.vision_language import VisionLanguageModel
from hydra_mobile.training.adapted_modules import adapted_modules


def _every_family() -> list[Any]:
    """Return the families; all but two are for `make test-slow`."""
    quick = ("mobilevlm", "smolvlm")
    return [
        name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES
    ]


@pytest.fixture(scope="module", params=_every_family())
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint of the family."""
    made = tmp_path_factory.mktemp(request.param) / "base"
    made.mkdir()
    TINY[request.param](made)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> VisionLanguageModel:
    return load_model(folder)


def noise(size: tuple[int, int] = (80, 50)) -> Image.Image:
    pixels = np.random.default_rng(4).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_no_two_families_know_the_same_class() -> None:
    kinds = [kind for family in families() for kind in family.model_types]
    assert len(kinds) == len(set(kinds))


def test_a_folder_is_a_base_as_it_is(folder: Path) -> None:
    assert base_folder(str(folder)) == folder
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    assert kind in family_of(folder).model_types


def test_parts_answer_what_the_model_itself_answers(
    folder: Path, model: VisionLanguageModel
) -> None:
    processor = load_processor(folder)
    pixels = torch.from_numpy(processor.preprocess(noise()))[None]
    prompt = processor.prompt("What is in the image?")
    image = [processor.image_token_id] * processor.num_image_tokens
    ids = torch.tensor([[*prompt.before, *image, *prompt.after]])
    with torch.no_grad():
        rows = model.encode_image(pixels)
        ours = model(input_ids=ids, pixel_values=pixels, logits_to_keep=1).logits[:, -1]
        own, own_rows = model.reference_logits(ids, pixels), model.reference_image(pixels)
    assert rows.shape == (1, model.num_image_tokens, model.row_width)
    assert model.num_image_tokens == processor.num_image_tokens
    assert model.image_size == processor.image.size
    if own is None or own_rows is None:
        assert model.whole is model
        return
    torch.testing.assert_close(rows[0, :, : own_rows.shape[1]], own_rows, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours, own, atol=1e-5, rtol=0)


def test_features_of_a_picture_have_the_shape_that_caches_rely_on(
    model: VisionLanguageModel,
) -> None:
    side = model.image_size
    with torch.no_grad():
        features = model.vision_features(torch.zeros(2, 3, side, side))
    assert features.shape == (2, model.num_patches, model.feature_size)


def test_parts_share_their_weights_with_the_whole(model: VisionLanguageModel) -> None:
    own = {parameter.data_ptr() for parameter in model.whole.parameters()}
    assert {parameter.data_ptr() for parameter in model.parameters()} <= own
    projector = dict(model.whole.named_modules())[model.projector_name]
    assert projector is model.projector


def test_every_linear_of_the_text_model_gets_an_adapter(model: VisionLanguageModel) -> None:
    inside = {id(m) for m in model.language_model.model.modules() if type(m) is torch.nn.Linear}
    named = dict(model.whole.named_modules())
    assert {id(named[name]) for name in adapted_modules(model)} == inside


def test_sizes_are_known_without_weights(folder: Path, model: VisionLanguageModel) -> None:
    family = family_of(folder)
    stored = json.loads((folder / "config.json").read_text())
    with torch.device("meta"):
        empty = family.empty_model(family.config_of(stored))
    shapes = {name: tensor.shape for name, tensor in empty.whole.state_dict().items()}
    assert shapes == {name: t.shape for name, t in model.whole.state_dict().items()}


def test_transformers_loads_the_folder(folder: Path, model: VisionLanguageModel) -> None:
    found = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(found) is type(model.whole)


def test_every_family_says_what_it_is() -> None:
    for name in FAMILIES:
        family = family_named(name)
        assert family.title
        assert family.tested
        assert name in TINY


def test_a_class_that_no_family_knows_is_told_which_are_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "smolvlm3"}')
    with pytest.raises(ArtifactError, match="smolvlm3") as caught:
        load_model(tmp_path)
    assert "smolvlm" in str(caught.value)
    with pytest.raises(ArtifactError, match="smolvlm3"):
        base_folder(str(tmp_path))


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_a_family_whose_packages_are_missing_says_which(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "fast_vlm"}')
    for name in ("timm", "torchvision"):
        found = None if name == package else ModuleType(name)
        monkeypatch.setitem(sys.modules, name, found)
        if found is not None:
            found.__spec__ = ModuleSpec(name, None)
    for read in (load_model, load_processor):
        with pytest.raises(MissingPackageError, match=rf"{package}[\s\S]*\[fastvlm\]"):
            read(tmp_path)
