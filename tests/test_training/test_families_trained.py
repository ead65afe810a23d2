"""Training of families beside MobileVLM: the adapter is stock peft's, the merge the class's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bundle_fixtures import Trained
from family_training import train
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file
from tiny_families import SQUARE, TILED, TINY, every_family
from transformers import AutoModelForImageTextToText

from hydra_export.merge import merge
from hydra_mobile.core.errors import ConfigError, HydraError
from hydra_mobile.models.loading import load_model, load_processor
from hydra_mobile.models.vision_language import SplitModel
from hydra_mobile.runtimes.torch import TorchRuntime

Settings = Callable[[Path], list[str]]


@pytest.fixture
def base(smolvlm_base: Path) -> Path:
    return smolvlm_base


def check_chain(base: Path, adapter: Path, merged: Path, picture: Path) -> None:
    """Compare the adapter in stock peft, in our runtime, and merged, in transformers."""
    processor = load_processor(merged)
    pixels = torch.from_numpy(processor.preprocess(Image.open(picture)))[None]
    prompt = processor.prompt("Which color is it?")
    image = processor.image_ids
    ids = torch.tensor([[*prompt.before, *image, *prompt.after]])
    parts = load_model(base)
    assert isinstance(parts, SplitModel)
    inputs = parts.own_inputs(ids, pixels)

    plain = AutoModelForImageTextToText.from_pretrained(base).eval()
    connector = load_file(adapter / "projector.safetensors")
    left = plain.load_state_dict(connector, strict=False)
    assert not left.unexpected_keys, "the connector has its names in memory"
    peft = PeftModel.from_pretrained(plain, adapter).eval()
    whole = AutoModelForImageTextToText.from_pretrained(merged).eval()
    untrained = AutoModelForImageTextToText.from_pretrained(base).eval()
    with torch.no_grad():
        wanted = peft(**inputs).logits[:, -1]
        found = whole(**inputs).logits[:, -1]
        before = untrained(**inputs).logits[:, -1]
        ours = load_model(merged)(input_ids=ids, pixel_values=pixels, logits_to_keep=1)
        unmerged = TorchRuntime.load(adapter.parent).model(
            input_ids=ids, pixel_values=pixels, logits_to_keep=1
        )
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.logits[:, -1], wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(unmerged.logits[:, -1], wanted, atol=1e-4, rtol=0)
    assert (found - before).abs().max() > 0.01


def test_adapter_is_stock_peft_and_merges_into_the_class_it_came_from(
    base: Path, run_settings: Settings, shapes_data: Path, tmp_path: Path
) -> None:
    settings = run_settings(tmp_path / "run")
    adapter = train(base, settings, "ranks.policy=uniform", "stage2.learning_rate=0.01")
    merge(base, tmp_path / "run", tmp_path / "merged")
    check_chain(base, adapter, tmp_path / "merged", shapes_data / "0.png")
    # The folder is the checkpoint's own, with other weights.
    names = {file.name for file in (tmp_path / "merged").iterdir()}
    assert {file.name for file in base.iterdir()} <= names
    for name in ("chat_template.jinja", "preprocessor_config.json", "tokenizer.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (base / name).read_bytes()


@pytest.mark.parametrize("family", every_family(SQUARE))
def test_after_twenty_steps_of_hydra_every_family_merges_into_its_class(
    family: str, family_trained: Callable[[str], Trained], shapes_data: Path
) -> None:
    check_chain(*family_trained(family), shapes_data / "0.png")


@pytest.mark.parametrize("family", every_family(TILED))
def test_a_model_trained_on_tiles_is_merged_as_one_that_reads_tiles(
    family: str, family_trained: Callable[[str], Trained], shapes_data: Path
) -> None:
    base, adapter, merged = family_trained(family)
    processor = load_processor(merged)
    assert processor.image.squares == 5
    assert processor.image == load_processor(base, adapter).image
    check_chain(base, adapter, merged, shapes_data / "0.png")


@pytest.mark.slow
def test_questions_do_not_share_a_row_with_convolutions(
    run_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    TINY["lfm2_vl"](tmp_path / "base")
    with pytest.raises(HydraError, match="share_prefix"):
        train(tmp_path / "base", run_settings(tmp_path / "run"), "stage2.steps=2")


def test_template_of_a_checkpoint_is_not_to_choose(
    base: Path, run_settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="template=v1"):
        train(base, run_settings(tmp_path / "run"), "data.template=v1")
