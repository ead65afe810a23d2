from __future__ import annotations

import json

import pytest
import torch
from original_checkpoints import CLIP_CONFIG, original_config, write_clip, write_original
from safetensors.torch import load_file

from hydra_mobile.models.registry import BASES, base_folder
from hydra_mobile.runtimes.model_ref import model_at


def test_the_verbs_import_and_write_back(tmp_path, run_verb):
    before = write_original(tmp_path / "original", "ldpnet", "sharded-bin")
    write_clip(tmp_path / "clip")
    base, back = tmp_path / "base", tmp_path / "back"
    code, _, err = run_verb("import", str(tmp_path / "original"), "--out", str(base))
    assert code == 0
    assert f"Writing {len(before)} tensors" in err
    code, out, _ = run_verb("convert", str(base), "--out", str(back), "--format", "bin")
    assert code == 0
    after = torch.load(back / "pytorch_model.bin", weights_only=True)
    assert set(after) == set(before)
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    parts = str(tmp_path / "parts")
    code, out, _ = run_verb("convert", str(base), "--out", parts, "--layout", "llama.cpp")
    assert code == 0
    assert "--projector-type ldp " in out
    code, _, err = run_verb("convert", str(base), "--out", parts, "--layout", "gguf")
    assert code != 0
    assert "`gguf`" in err
    code, _, err = run_verb("import", str(tmp_path / "clip"), "--out", str(tmp_path / "no"))
    assert code != 0
    assert "model_type is 'clip'" in err


def test_parts_are_composed(tmp_path, run_verb):
    # A checkpoint without its projector and tower is a Llama folder.
    tensors = write_original(tmp_path / "llama", "linear")
    language = {k: v for k, v in tensors.items() if "vision_tower" not in k and "mm_" not in k}
    (tmp_path / "llama" / "model.safetensors").unlink()
    torch.save(language, tmp_path / "llama" / "pytorch_model.bin")
    config = original_config("linear", language["lm_head.weight"].shape[0])
    config = {k: v for k, v in config.items() if not k.startswith(("mm_", "vision_"))}
    (tmp_path / "llama" / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    write_clip(tmp_path / "clip")
    base = tmp_path / "base"
    code, _, err = run_verb(
        *("compose", "--language", tmp_path / "llama", "--vision", tmp_path / "clip"),
        *("--projector", "ldpnet", "--out", base),
    )
    assert code == 0
    assert "fresh parameters" in err
    assert len(load_file(base / "model.safetensors")) > len(language)
    stored = json.loads((base / "config.json").read_text())
    assert stored["vision_config"]["hidden_size"] == CLIP_CONFIG["hidden_size"]


@pytest.mark.parametrize("form", ["sharded-bin", "safetensors"])
def test_an_original_folder_is_evaluated_as_the_base_that_it_becomes(tmp_path, form):
    write_original(tmp_path / "original", "linear", form)
    artifact = model_at(str(tmp_path / "original"))
    assert (artifact.kind, artifact.runner) == ("base", "torch")
    assert artifact.path == base_folder(str(tmp_path / "original"))


@pytest.mark.parametrize("verb", ["import", "compose", "convert"])
def test_the_verbs_have_help(run_verb, verb):
    code, out, _ = run_verb(verb, "--help")
    assert code == 0
    assert "folder" in out.lower()


def test_fetch_lists_the_named_bases(run_verb):
    code, out, _ = run_verb("fetch")
    assert code == 0
    assert all(name in out for name in BASES)


def test_fetching_without_network_says_that_a_folder_works_too(run_verb):
    code, _, err = run_verb("fetch", "mobilevlm-v2-1.7b")
    assert code != 0
    assert "mtgv/MobileVLM_V2-1.7B" in err
    assert "base=/path/of/the/checkpoint" in err
