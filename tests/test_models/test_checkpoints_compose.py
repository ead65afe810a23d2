from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from original_checkpoints import (
    CLIP_CONFIG,
    write_clip,
    write_llama,
)
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, SiglipConfig, SiglipModel

from hydra_mobile.core.errors import ArtifactError, ConfigError
from hydra_mobile.models.checkpoints.composing import compose
from hydra_mobile.models.checkpoints.exporting import export_mobilevlm
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.processor import MobileVLMProcessor


def quiet(line: str) -> None:
    pass


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    llama = write_llama(tmp_path / "llama")
    clip = write_clip(tmp_path / "clip")
    return tmp_path / "llama", tmp_path / "clip", llama, clip


@pytest.mark.parametrize("projector", ["ldpnet", "ldpnetv2", "linear", "mlp3x_gelu", "pooled_mlp"])
def test_parts_are_kept_and_the_projector_is_the_same_every_time(tmp_path, parts, projector):
    language, vision, llama, clip = parts
    for out in ("one", "two"):
        compose(str(language), str(vision), projector, tmp_path / out, log=quiet)
    ours = load_file(tmp_path / "one" / "model.safetensors")
    again = load_file(tmp_path / "two" / "model.safetensors")
    fresh = {name: tensor for name, tensor in ours.items() if name.startswith("projector.")}
    assert len(ours) == len(llama) + len(clip) + len(fresh)
    for key, tensor in llama.items():
        assert torch.equal(ours[f"language_model.{key}"], tensor)
    for key, tensor in clip.items():
        assert torch.equal(ours[key.replace("vision_model.", "vision_tower.model.")], tensor)
    for name, tensor in fresh.items():
        assert torch.equal(tensor, again[name])
        assert tensor.dtype == torch.float32
    weights = [tensor for tensor in fresh.values() if tensor.dim() == 2]
    assert all(0.01 < float(weight.std()) < 1 for weight in weights)


def test_a_composed_base_answers(tmp_path, parts):
    language, vision, _, _ = parts
    compose(str(language), str(vision), "ldpnetv2", tmp_path / "base", log=quiet)
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    assert config["base"] == "clip+ldpnetv2+llama"
    assert config["vision_config"]["select_layer"] == -2
    assert config["text_config"]["rope_parameters"]["rope_theta"] == 5000.0
    model = load_model(tmp_path / "base")
    inputs = MobileVLMProcessor.from_pretrained(tmp_path / "base")("Which color is it?")
    with torch.no_grad():
        assert torch.isfinite(model(**inputs).logits).all()


def test_scaled_positions_are_kept(tmp_path):
    scaling = {"type": "linear", "factor": 4.0}
    write_llama(tmp_path / "llama", rope_scaling=scaling)
    write_clip(tmp_path / "clip")
    out = tmp_path / "base"
    compose(str(tmp_path / "llama"), str(tmp_path / "clip"), "linear", out, log=quiet)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path / "llama", dtype=torch.float32).eval()
    ids = torch.randint(3, 200, (1, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = load_model(out)(input_ids=ids).logits
        torch.testing.assert_close(ours, theirs(input_ids=ids).logits, rtol=1e-5, atol=1e-5)
    export_mobilevlm(out, tmp_path / "back", log=quiet)
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config["rope_theta"] == 5000.0
    assert config["rope_scaling"] == scaling


def test_tied_embeddings_are_stored_once(tmp_path):
    write_llama(tmp_path / "llama", tied=True)
    write_clip(tmp_path / "clip", whole=False)
    out = tmp_path / "base"
    compose(str(tmp_path / "llama"), str(tmp_path / "clip"), "linear", out, log=quiet)
    assert "language_model.lm_head.weight" not in load_file(out / "model.safetensors")
    model = load_model(out)
    assert torch.equal(model.language_model.lm_head.weight, model.get_input_embeddings().weight)


def test_siglip_is_a_tower_too(tmp_path):
    write_llama(tmp_path / "llama")
    text = {"num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 8, "vocab_size": 50}
    vision = {key: value for key, value in CLIP_CONFIG.items() if key != "model_type"}
    siglip = SiglipModel(
        SiglipConfig(text_config=text | {"num_attention_heads": 2}, vision_config=vision)
    )
    siglip.save_pretrained(tmp_path / "siglip")
    out = tmp_path / "base"
    lines: list[str] = []
    compose(str(tmp_path / "llama"), str(tmp_path / "siglip"), "linear", out, log=lines.append)
    model = load_model(out)
    pixels = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = siglip.vision_model(pixels, output_hidden_states=True).hidden_states[-2]
        torch.testing.assert_close(model.vision_features(pixels), expected, rtol=1e-5, atol=1e-5)
    processor = MobileVLMProcessor.from_pretrained(out)
    assert processor.image.mean == (0.5, 0.5, 0.5)
    assert any("logit_bias (not needed)" in line for line in lines)


def test_other_language_models_are_refused(tmp_path, parts):
    language, vision, _, _ = parts
    write_llama(tmp_path / "mistral", model_type="mistral")
    with pytest.raises(ArtifactError, match=r"'mistral'.*'llama'"):
        compose(str(tmp_path / "mistral"), str(vision), "ldpnet", tmp_path / "base", log=quiet)
    with pytest.raises(ArtifactError, match=r"model_type.*vision.*'llama'"):
        compose(str(language), str(language), "ldpnet", tmp_path / "base", log=quiet)
    assert not (tmp_path / "base").exists()


def test_unknown_projectors_list_the_known_ones(tmp_path, parts):
    language, vision, _, _ = parts
    with pytest.raises(ConfigError, match=r"`ldpnett`[\s\S]*`ldpnet"):
        compose(str(language), str(vision), "ldpnett", tmp_path / "base", log=quiet)


def test_a_language_model_with_a_wrong_size_is_refused(tmp_path):
    write_llama(tmp_path / "llama", intermediate_size=64)
    write_clip(tmp_path / "clip")
    with pytest.raises(ArtifactError, match=r"6.*\(48, 32\).*\(64"):
        compose(
            str(tmp_path / "llama"), str(tmp_path / "clip"), "linear", tmp_path / "b", log=quiet
        )
