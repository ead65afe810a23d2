"""Adapters that stock peft wrote: merged here they are what peft itself makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hydra_export.merge import merge
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.checkpoints.keys import mobilevlm_layout
from hydra_mobile.models.loading import load_model

PATTERNS = {
    "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.down_proj": 12},
    "alpha_pattern": {"q_proj": 32, "v_proj": 3},
}
CONFIGURATIONS = {
    "uniform": {"target_modules": r".*language_model.*(q_proj|v_proj)"},
    "suffixes": {"target_modules": ["q_proj", "k_proj", "gate_proj", "down_proj"]},
    "patterns": {"target_modules": ["q_proj", "v_proj", "down_proj"], **PATTERNS},
    "rslora": {"target_modules": ["q_proj", "o_proj"], "use_rslora": True, **PATTERNS},
    "saved whole": {"target_modules": ["q_proj"], "modules_to_save": ["projector"]},
}


def write_adapter(base: Path, folder: Path, inside: str = "", **settings) -> torch.nn.Module:
    """Write an adapter of random values with stock peft; return peft's own merged model."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    model = load_model(base)
    part = model.get_submodule(inside)
    adapted = get_peft_model(part, LoraConfig(r=8, lora_alpha=16, **settings))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.normal_(std=0.05)
    adapted.save_pretrained(str(folder))
    return adapted.merge_and_unload()


def largest_difference(merged: Path, expected: dict[str, torch.Tensor]) -> float:
    found = load_file(merged / "model.safetensors")
    assert set(found) <= set(expected)
    return max(float((found[n].float() - expected[n].float()).abs().max()) for n in found)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_merged_as_peft_merges(tiny_base, tmp_path, name):
    theirs = write_adapter(tiny_base, tmp_path / "adapter", **CONFIGURATIONS[name])
    report = merge(tiny_base, tmp_path / "adapter", tmp_path / "merged")
    assert report.merged
    assert bool(report.replaced) == (name == "saved whole")
    assert largest_difference(tmp_path / "merged", theirs.state_dict()) <= 1e-6
    base = load_file(tiny_base / "model.safetensors")
    assert largest_difference(tmp_path / "merged", base) > 1e-3


def test_an_adapter_of_the_language_model_alone_finds_its_place(tiny_base, tmp_path):
    theirs = write_adapter(
        tiny_base, tmp_path / "adapter", "language_model", target_modules=["q_proj"]
    )
    merge(tiny_base, tmp_path / "adapter", tmp_path / "merged")
    expected = {f"language_model.{n}": t for n, t in theirs.state_dict().items()}
    found = load_file(tmp_path / "merged" / "model.safetensors")
    for name in expected.keys() & found.keys():
        assert torch.allclose(found[name], expected[name], rtol=0, atol=1e-6)


def test_unmerged_it_answers_as_merged(tiny_base, tmp_path):
    from hydra_mobile.runtimes.torch import load_artifact

    write_adapter(tiny_base, tmp_path / "adapter", **CONFIGURATIONS["rslora"])
    file = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "base_model_name_or_path": "tiny"}))
    merge(tiny_base, tmp_path / "adapter", tmp_path / "merged")
    ids = torch.tensor([[5, 9, 2, 7]])
    with torch.no_grad():
        logits = [
            load_artifact(tmp_path / n)[0](input_ids=ids).logits for n in ("adapter", "merged")
        ]
    assert torch.allclose(*logits, atol=1e-4)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", True),
        ("bias", "all"),
        ("lora_bias", True),
        ("trainable_token_indices", [1, 2]),
        ("layer_replication", [[0, 1]]),
        ("init_lora_weights", "pissa_niter_4"),
        ("peft_type", "LOHA"),
        ("lora_alpha", 0),
        ("r", 4),
        ("modules_to_save", ["lm_head"]),
        # Expressions that take hours on one name, and what is none.
        ("rank_pattern", {r"(\w+\.?)+!": 4}),
        ("alpha_pattern", {"(.|.)*x": 4}),
        ("rank_pattern", {".*.*.*.*x": 4}),
        ("rank_pattern", {"[": 4}),
        ("rank_pattern", [4]),
        ("alpha_pattern", {"q_proj": "4"}),
        ("alpha_pattern", {"q_proj": -4}),
    ],
)
def test_what_is_no_plain_lora_is_refused_by_name(tiny_base, tmp_path, key, value):
    write_adapter(tiny_base, tmp_path / "adapter", target_modules=["q_proj"])
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    name = {"r": "rank", "modules_to_save": "lm_head"}.get(key, key)
    with pytest.raises(ArtifactError, match=name) as caught:
        merge(tiny_base, tmp_path / "adapter", tmp_path / "merged")
    assert caught.value.fix
    assert not (tmp_path / "merged").exists()


def test_dora_of_stock_peft_is_refused(tiny_base, tmp_path):
    write_adapter(tiny_base, tmp_path / "adapter", target_modules=["q_proj"], use_dora=True)
    with pytest.raises(ArtifactError, match="use_dora"):
        merge(tiny_base, tmp_path / "adapter", tmp_path / "merged")


def test_llavas_lora_folder_merges_with_its_projector(tiny_base, tmp_path):
    """LoRA under LLaVA's names, the projector in non_lora_trainables.bin."""
    folder = tmp_path / "llava-lora"
    theirs = write_adapter(tiny_base, folder, "language_model", target_modules=["q_proj"])
    tensors = load_file(folder / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.model.layers.") for name in tensors)
    torch.save(tensors, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    base = load_file(tiny_base / "model.safetensors")
    config = json.loads((tiny_base / "config.json").read_text())["projector_config"]
    layout = mobilevlm_layout(config)
    projector = {n: t + 0.5 for n, t in base.items() if n.startswith("projector.")}
    beside = {f"base_model.model.{layout.theirs(n)}": t for n, t in projector.items()}
    torch.save(beside, folder / "non_lora_trainables.bin")
    report = merge(tiny_base, folder, tmp_path / "merged")
    assert report.replaced == sorted(projector)
    found = load_file(tmp_path / "merged" / "model.safetensors")
    expected = {f"language_model.{n}": t for n, t in theirs.state_dict().items()} | projector
    for name in expected.keys() & found.keys():
        assert torch.allclose(found[name], expected[name], rtol=0, atol=1e-6), name
