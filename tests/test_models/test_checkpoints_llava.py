from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from original_checkpoints import (
    CLIP_CONFIG,
    TEXT,
    original_config,
    sentencepiece_model,
    vocabulary_size,
    write_original,
)
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipVisionConfig,
)

from hydra_export.merge import merge
from hydra_mobile.config import load_config
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.checkpoints.exporting import export_llava
from hydra_mobile.models.checkpoints.importing import import_checkpoint
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.registry import base_folder
from hydra_mobile.training.run import TrainingRun

# As published LLaVA has it: the image token is one of the padded table's rows.
ROWS = 448
PATCHES = 144
VISION = {key: value for key, value in CLIP_CONFIG.items() if key != "model_type"}


def quiet(line: str) -> None:
    pass


def llava(tower: str = "clip", **changes: object) -> LlavaForConditionalGeneration:
    vision = {"clip": CLIP_CONFIG, "siglip": SiglipVisionConfig(**VISION).to_dict()}[tower]
    text = {
        "model_type": "llama",
        "hidden_size": TEXT["hidden"],
        "intermediate_size": TEXT["inner"],
        "num_hidden_layers": TEXT["layers"],
        "num_attention_heads": TEXT["heads"],
        "vocab_size": ROWS,
        "pad_token_id": 0,
    }
    settings = {
        "image_token_index": vocabulary_size(),
        "image_seq_length": PATCHES,
        "vision_feature_select_strategy": "default" if tower == "clip" else "full",
    }
    torch.manual_seed(3)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, **(settings | changes))
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    return model


def write(folder: Path, model: LlavaForConditionalGeneration, keys: str = "5") -> None:
    """Save a model with the keys of transformers 4.40, 4.52 or 5."""
    model.save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    (folder / "added_tokens.json").write_text(json.dumps({"<image>": vocabulary_size()}))
    if keys == "5":
        return
    renamed = {}
    for key, tensor in load_file(folder / "model.safetensors").items():
        part, _, rest = key.partition(".")
        if part == "vision_tower":
            rest = f"vision_model.{rest}"
        if keys == "4.52" and part == "language_model":
            # The decoder lost its own `model.`, the head stands beside it.
            new = f"model.language_model.{rest.removeprefix('model.')}"
            key = rest if rest.startswith("lm_head") else new
        elif keys == "4.52":
            key = f"model.{part}.{rest}"
        else:
            key = f"{part}.{rest}"
        renamed[key] = tensor
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})


def inputs() -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(7)
    ids = torch.randint(3, vocabulary_size(), (2, 12), generator=chance)
    image = torch.full((2, PATCHES), vocabulary_size())
    return {
        "input_ids": torch.cat([ids[:, :4], image, ids[:, 4:]], 1),
        "pixel_values": torch.randn(2, 3, 48, 48, generator=chance),
    }


@torch.no_grad()
def assert_same_logits(one: object, other: object) -> None:
    expected = one(**inputs()).logits
    assert float(expected.std()) > 0.05, "logits near zero prove nothing"
    torch.testing.assert_close(other(**inputs()).logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("keys", ["4.40", "4.52", "5"])
def test_an_import_computes_what_transformers_does(tmp_path, keys):
    model = llava()
    write(tmp_path / "llava", model, keys)
    import_checkpoint(str(tmp_path / "llava"), tmp_path / "base", log=quiet)
    assert_same_logits(model, load_model(tmp_path / "base"))
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    assert config["image_token_id"] == vocabulary_size()
    processor = MobileVLMProcessor.from_pretrained(tmp_path / "base")
    assert processor.text_ids("<image>") == [vocabulary_size()]
    assert processor.num_image_tokens == PATCHES


def test_siglip_without_a_class_token(tmp_path):
    model = llava("siglip")
    write(tmp_path / "llava", model)
    import_checkpoint(str(tmp_path / "llava"), tmp_path / "base", log=quiet)
    assert_same_logits(model, load_model(tmp_path / "base"))


def test_the_way_back_is_loaded_by_transformers_and_loses_nothing(tmp_path):
    model = llava()
    write(tmp_path / "llava", model, "4.40")
    import_checkpoint(str(tmp_path / "llava"), tmp_path / "base", log=quiet)
    export_llava(tmp_path / "base", tmp_path / "back", log=quiet)
    before = load_file(tmp_path / "llava" / "model.safetensors")
    after = load_file(tmp_path / "back" / "model.safetensors")
    assert set(after) == set(before)
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    again = LlavaForConditionalGeneration.from_pretrained(tmp_path / "back").eval()
    assert_same_logits(model, again)


def test_trained_merged_and_written_back(tmp_path, run_settings):
    write(tmp_path / "llava", llava())
    run = tmp_path / "run"
    settings = [s for s in run_settings(run) if not s.startswith("base=")]
    short = ["stage1.align_steps=1", "stage1.steps=1", "stage2.steps=3"]
    # transformers' folder itself is the base.
    config = load_config(None, [*settings, *short, f"base={tmp_path / 'llava'}"])
    TrainingRun(config).train()
    base = base_folder(str(tmp_path / "llava"), quiet)
    merge(base, run, tmp_path / "merged")
    export_llava(tmp_path / "merged", tmp_path / "back", log=quiet)
    theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "back").eval()
    assert_same_logits(load_model(tmp_path / "merged"), theirs)
    with torch.no_grad():
        moved = load_model(base)(**inputs()).logits - theirs(**inputs()).logits
    assert moved.abs().max() > 1e-4


def test_a_mobilevlm_with_an_mlp_becomes_a_llava(tmp_path):
    write_original(tmp_path / "original", "mlp2x_gelu")
    import_checkpoint(str(tmp_path / "original"), tmp_path / "base", log=quiet)
    export_llava(tmp_path / "base", tmp_path / "llava", log=quiet)
    theirs, loading = LlavaForConditionalGeneration.from_pretrained(
        tmp_path / "llava", dtype=torch.float32, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    # transformers looks the image token up too, so the table has grown; those rows are zeros.
    table = theirs.get_input_embeddings().weight
    rows = vocabulary_size()
    assert table.shape[0] % 64 == 0
    assert table.shape[0] > rows
    assert not table[rows:].any()
    ours = load_model(tmp_path / "base")
    with torch.no_grad():
        torch.testing.assert_close(
            theirs.eval()(**inputs()).logits[..., :rows],
            ours(**inputs()).logits,
            rtol=0,
            atol=1e-5,
        )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llava")
    processor = MobileVLMProcessor.from_pretrained(tmp_path / "base")
    text = "USER: <image>\nIs it  red? ASSISTANT:"
    assert tokenizer(text).input_ids == [1, *processor.text_ids(text)]
    # And it can be imported again, with the padded table.
    import_checkpoint(str(tmp_path / "llava"), tmp_path / "again", log=quiet)
    again = MobileVLMProcessor.from_pretrained(tmp_path / "again")
    assert again.text_ids(text) == processor.text_ids(text)


def test_projectors_that_are_not_llavas_are_refused(tmp_path):
    write_original(tmp_path / "original", "ldpnet")
    import_checkpoint(str(tmp_path / "original"), tmp_path / "base", log=quiet)
    with pytest.raises(ArtifactError, match=r"'ldpnet'.*mlp[\s\S]*mobilevlm"):
        export_llava(tmp_path / "base", tmp_path / "llava", log=quiet)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vision_feature_layer": [-2, -5]}, r"vision_feature_layer is \[-2, -5\]"),
        ({"vision_feature_select_strategy": "full"}, "select_strategy is 'full'"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act is 'relu'"),
        ({"multimodal_projector_bias": False}, "multimodal_projector_bias is False"),
    ],
)
def test_what_this_project_has_no_part_for_is_refused(tmp_path, change, reason):
    write(tmp_path / "llava", llava())
    file = tmp_path / "llava" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ArtifactError, match=reason):
        import_checkpoint(str(tmp_path / "llava"), tmp_path / "base", log=quiet)


def test_other_language_models_are_refused(tmp_path):
    write(tmp_path / "llava", llava())
    file = tmp_path / "llava" / "config.json"
    config = json.loads(file.read_text())
    config["text_config"]["model_type"] = "qwen2"
    file.write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=r"'qwen2'.*'llama'"):
        import_checkpoint(str(tmp_path / "llava"), tmp_path / "base", log=quiet)


def test_llavas_own_checkpoints_have_mobilevlms_layout(tmp_path):
    write_original(tmp_path / "original", "mlp2x_gelu")
    config = original_config("mlp2x_gelu", vocabulary_size()) | {"model_type": "llava_llama"}
    (tmp_path / "original" / "config.json").write_text(json.dumps(config))
    import_checkpoint(str(tmp_path / "original"), tmp_path / "base", log=quiet)
    assert load_model(tmp_path / "base").config.projector_config["depth"] == 2
