"""Pictures in tiles: ids and pixels are those of transformers' own processors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tiny_families import TINY, smolvlm, tiled
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from hydra_mobile.core.errors import ArtifactError, ConfigError, HydraError
from hydra_mobile.models.loading import load_model, load_processor
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import Turn
from hydra_mobile.models.tiles import Grid, tiles_in


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module", params=["SmolVLM", "Idefics3", "InternVL"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint that reads two by two tiles."""
    made = tmp_path_factory.mktemp(kind)
    tiled(TINY["internvl"] if kind == "InternVL" else lambda at: smolvlm(at, kind), made)
    return made


@pytest.fixture(scope="module")
def processor(folder: Path) -> MobileVLMProcessor:
    return load_processor(folder)


def own_pixels(kind: str, picture: Image.Image) -> Any:
    """Return what transformers' image processor makes of a picture, as published settings ask."""
    if kind == "InternVL":
        theirs = transformers.GotOcr2ImageProcessorPil(
            size={"height": 56, "width": 56},
            crop_to_patches=True,
            min_patches=1,
            max_patches=4,
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        )
    else:
        theirs = getattr(transformers, f"{kind}ImageProcessorPil")(
            size={"longest_edge": 128},
            max_image_size={"longest_edge": 64},
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        )
    return np.asarray(theirs(picture, return_tensors="np")["pixel_values"])


@pytest.mark.parametrize("size", [(128, 128), (300, 300), (112, 112)])
def test_pixels_are_those_of_transformers(
    kind: str, processor: MobileVLMProcessor, size: tuple[int, int]
) -> None:
    picture = noise(*size)
    ours = processor.preprocess(picture)
    theirs = own_pixels(kind, picture)
    assert ours.shape[0] == 5
    np.testing.assert_allclose(ours, theirs.reshape(ours.shape), atol=1e-5)


def test_ids_are_those_of_transformers(kind: str, processor: MobileVLMProcessor) -> None:
    n = processor.num_image_tokens
    if kind == "InternVL":
        text = "<img>" + "<IMG_CONTEXT>" * 5 * n + "</img>"
    else:
        text = get_image_prompt_string(
            2, 2, n, "<fake_token_around_image>", "<image>", "<global-img>"
        )
    wanted = processor.tokenizer.encode(text, add_special_tokens=False).ids
    prompt = processor.prompt("yes")
    found = [*prompt.before, *processor.image_ids, *prompt.after]
    places = [at for at in range(len(found)) if found[at : at + len(wanted)] == wanted]
    assert len(places) == 1
    encoded = processor.encode_record([Turn("yes", "no")], True)
    assert [*encoded.prefix, *encoded.ids][: len(found)] == found


def test_the_parts_answer_what_the_class_answers(
    folder: Path, processor: MobileVLMProcessor
) -> None:
    model = load_model(folder)
    pixels = torch.from_numpy(processor.preprocess(noise(130, 77)))[None]
    prompt = processor.prompt("What is in the image?")
    ids = torch.tensor([[*prompt.before, *processor.image_ids, *prompt.after]])
    with torch.no_grad():
        rows, own_rows = model.encode_image(pixels), model.reference_image(pixels)
        ours = model(input_ids=ids, pixel_values=pixels, logits_to_keep=1).logits[:, -1]
        own = model.reference_logits(ids, pixels)
    assert rows.shape == (1, 5 * model.num_image_tokens, model.row_width)
    torch.testing.assert_close(rows[0], own_rows, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours, own, atol=1e-5, rtol=0)


def test_tiles_are_stored_and_one_square_is_stored_as_before(
    processor: MobileVLMProcessor,
) -> None:
    stored = processor.image.to_dict()
    assert ImagePreprocessing.from_dict(stored, "here") == processor.image
    assert stored["fit"] == "tiles"
    del stored["tiles"]["texts"]
    with pytest.raises(ArtifactError, match="texts"):
        ImagePreprocessing.from_dict(stored, "here")
    del stored["tiles"]
    with pytest.raises(ArtifactError, match="tiles"):
        ImagePreprocessing.from_dict(stored, "here")
    assert "tiles" not in ImagePreprocessing.from_dict({**stored, "fit": "stretch"}, "").to_dict()


@pytest.mark.parametrize("text", ["1x1", "2", "0x2", "2 x 2", "2x2x2", "70x1", "99x99"])
def test_a_grid_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.tiles"):
        Grid.parse(text)


@pytest.mark.parametrize(
    "stored",
    [
        *({"rows": 1, "columns": 1}, {"rows": 2}, {"rows": 65, "columns": 1}, {"rows": True}),
        *({"rows": 2, "columns": 2.5}, {"rows": 2, "columns": 2, "depth": 2}, [2, 2], "2x2"),
    ],
)
def test_a_stored_grid_that_is_none_names_its_file(stored: object, tmp_path: Path) -> None:
    (tmp_path / "tiles.json").write_text(json.dumps(stored))
    with pytest.raises(ArtifactError, match=r"tiles\.json"):
        tiles_in(tmp_path)


def test_a_grid_beyond_the_tokens_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    smolvlm(tmp_path)
    with pytest.raises(ArtifactError, match="row_3_col_2"):
        load_processor(tmp_path, tiles=Grid(3, 2))


def test_a_family_without_tiles_refuses_them(tmp_path: Path) -> None:
    TINY["mobilevlm"](tmp_path)
    with pytest.raises(HydraError, match="2x2"):
        load_processor(tmp_path, tiles=Grid(2, 2))
