"""Training of families beside MobileVLM: the adapter is stock peft's, the merge the class's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file
from tiny_families import TINY
from transformers import AutoModelForImageTextToText

from hydra_export.merge import merge
from hydra_mobile.config import load_config
from hydra_mobile.core.errors import ConfigError, HydraError
from hydra_mobile.models.loading import load_model, load_processor
from hydra_mobile.models.vision_language import SplitModel
from hydra_mobile.runtimes.torch import TorchRuntime
from hydra_mobile.training.run import TrainingRun

Settings = Callable[[Path], list[str]]


@pytest.fixture
def base(smolvlm_base: Path) -> Path:
    return smolvlm_base


def trained(base: Path, run_settings: Settings, out: Path, *changes: str) -> Path:
    """Train stage II alone: the connector is trained already."""
    config = load_config(None, [*run_settings(out), f"base={base}", "data.stage1=", *changes])
    return TrainingRun(config).train()


def trained_and_merged(
    family: str, run_settings: Settings, tmp_path: Path, *changes: str
) -> tuple[Path, Path]:
    """Train a tiny base of a family for twenty steps and merge it; return base and adapter."""
    base = tmp_path / "base"
    base.mkdir()
    TINY[family](base)
    adapter = trained(
        base,
        run_settings,
        tmp_path / "run",
        "ranks.policy=hydra",
        "stage2.steps=20",
        "stage2.learning_rate=0.01",
        *changes,
    )
    merge(base, tmp_path / "run", tmp_path / "merged")
    return base, adapter


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
    adapter = trained(
        base, run_settings, tmp_path / "run", "ranks.policy=uniform", "stage2.learning_rate=0.01"
    )
    merge(base, tmp_path / "run", tmp_path / "merged")
    check_chain(base, adapter, tmp_path / "merged", shapes_data / "0.png")
    # The folder is the checkpoint's own, with other weights.
    names = {file.name for file in (tmp_path / "merged").iterdir()}
    assert {file.name for file in base.iterdir()} <= names
    for name in ("chat_template.jinja", "preprocessor_config.json", "tokenizer.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (base / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in TINY if name != "mobilevlm"])
def test_hydra_ranks_move_in_twenty_steps(
    family: str, run_settings: Settings, shapes_data: Path, tmp_path: Path
) -> None:
    base, adapter = trained_and_merged(
        family,
        run_settings,
        tmp_path,
        "ranks.dynamic.least_steps=0",
        "ranks.dynamic.margin=1",
        # Convolutions over rows would mix questions that share one.
        *(["data.share_prefix=false"] if family == "lfm2_vl" else []),
    )
    check_chain(base, adapter, tmp_path / "merged", shapes_data / "0.png")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["smolvlm", "internvl"])
def test_a_model_trained_on_tiles_is_merged_as_one_that_reads_tiles(
    family: str, run_settings: Settings, shapes_data: Path, tmp_path: Path
) -> None:
    base, adapter = trained_and_merged(family, run_settings, tmp_path, "data.tiles=2x2")
    processor = load_processor(tmp_path / "merged")
    assert processor.image.squares == 5
    assert processor.image == load_processor(base, adapter).image
    check_chain(base, adapter, tmp_path / "merged", shapes_data / "0.png")


@pytest.mark.slow
def test_questions_do_not_share_a_row_with_convolutions(
    run_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    TINY["lfm2_vl"](tmp_path / "base")
    with pytest.raises(HydraError, match="share_prefix"):
        trained(tmp_path / "base", run_settings, tmp_path / "run", "stage2.steps=2")


def test_template_of_a_checkpoint_is_not_to_choose(
    base: Path, run_settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="template=v1"):
        trained(base, run_settings, tmp_path / "run", "data.template=v1")
