"""`families` and `families check`: what is told about a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file
from tiny_families import smolvlm

from hydra_export.family_check import check_family
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.families import FAMILIES


@pytest.fixture
def base(smolvlm_base: Path) -> Path:
    return smolvlm_base


def test_a_checkpoint_is_held_against_transformers(base: Path) -> None:
    found = check_family(base)
    assert found.passed, found.checks
    assert found.model_class == "SmolVLMForConditionalGeneration"
    assert not found.random_weights
    assert {check.status for check in found.checks} == {"same"}
    assert len(found.checks) == 10


def test_the_older_name_of_the_same_class_is_read_as_well(tmp_path: Path) -> None:
    smolvlm(tmp_path, "Idefics3")
    found = check_family(tmp_path)
    assert found.model_class == "Idefics3ForConditionalGeneration"
    assert found.passed, found.checks


def test_no_weights_are_needed(base: Path, tmp_path: Path) -> None:
    for file in base.iterdir():
        if not file.name.endswith(".safetensors"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    found = check_family(tmp_path)
    assert found.random_weights
    assert found.passed, found.checks


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ("WithoutPositions", ["image embeddings"]),
        ("WithOtherRotary", ["logits in one call", "logits, row by row"]),
    ],
)
def test_what_a_family_reads_wrongly_is_named(
    base: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, names: list[str]
) -> None:
    monkeypatch.setitem(FAMILIES, "smolvlm", f"wrong_families:{wrong}")
    found = check_family(base)
    differing = {check.name for check in found.checks if check.status == "differs"}
    assert set(names) <= differing
    assert not found.passed


def test_a_text_model_that_no_decoder_reads_is_named(base: Path, tmp_path: Path) -> None:
    for file in base.iterdir():
        if not file.name.endswith(".safetensors"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["model_type"] = "qwen3"
    config["text_config"]["head_dim"] = 16
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = check_family(tmp_path)
    differing = [check for check in found.checks if check.status == "differs"]
    assert [check.name for check in differing] == ["text model fits the decoders of programs"]
    assert "q_norm" in differing[0].found


def test_a_class_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "moondream"}')
    with pytest.raises(ArtifactError, match="moondream"):
        check_family(tmp_path)


WIDE = {"hidden_size": 65536, "intermediate_size": 262144, "num_hidden_layers": 2}
LLAMA = {"model_type": "llama", "num_attention_heads": 8, "num_key_value_heads": 8}


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("[]", "a list of 0"),
        ("3", "3"),
        ("null", "None"),
        ('{"model_type": ["smolvlm"]}', "smolvlm"),
        ({"model_type": "smolvlm", "text_config": [1]}, "no model"),
        ({"model_type": "smolvlm", "text_config": {**LLAMA, "hidden_size": "many"}}, "no model"),
        ({"model_type": "smolvlm", "text_config": {**LLAMA, "num_attention_heads": 0}}, "no model"),
        ({"model_type": "smolvlm", "text_config": {**LLAMA, **WIDE}}, "GB"),
    ],
)
def test_a_config_that_describes_no_model_is_told(run_verb, tmp_path, config, found):
    text = config if isinstance(config, str) else json.dumps(config)
    (tmp_path / "config.json").write_text(text)
    code, out, err = run_verb("families", "check", tmp_path)
    assert code == 2, out + err
    assert "Traceback" not in err
    assert "config.json" in err
    assert found in err


def test_weights_of_another_shape_are_named(run_verb, tiny_base, tmp_path):
    for file in tiny_base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    name = "language_model.model.norm.weight"
    save_file({**tensors, name: tensors[name][:1].copy()}, tmp_path / "model.safetensors")
    code, _, err = run_verb("families", "check", tmp_path)
    assert code == 2
    assert name in err
