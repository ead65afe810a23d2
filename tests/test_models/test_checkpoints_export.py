from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
from original_checkpoints import (
    CLIP_CONFIG,
    TOWER,
    VISION,
    original_config,
    sentencepiece_model,
    vocabulary_size,
    write_clip,
    write_original,
)
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel

from hydra_export.merge import merge
from hydra_mobile.config import load_config
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.safetensors_io import Form
from hydra_mobile.models.checkpoints.exporting import export_mobilevlm
from hydra_mobile.models.checkpoints.importing import import_checkpoint
from hydra_mobile.models.checkpoints.llama_cpp import export_llama_cpp
from hydra_mobile.models.checkpoints.pickled import write_pickled
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.registry import base_folder
from hydra_mobile.training.run import TrainingRun

KINDS = ("ldpnet", "ldpnetv2", "mlp2x_gelu", "linear")


def quiet(line: str) -> None:
    pass


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {
        key: str((tensor.dtype, tuple(tensor.shape))).encode() + tensor.numpy().tobytes()
        for key, tensor in tensors.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_trip_gives_every_file_back(tmp_path, kind):
    before = write_original(tmp_path / "original", kind, "sharded-bin")
    import_checkpoint(str(tmp_path / "original"), tmp_path / "base", log=quiet)
    export_mobilevlm(tmp_path / "base", tmp_path / "back", log=quiet)
    assert bits(load_file(tmp_path / "back" / "model.safetensors")) == bits(before)
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config == original_config(kind, vocabulary_size())
    assert (tmp_path / "back" / "tokenizer.model").read_bytes() == sentencepiece_model()
    # Loaders compare the tokenizer's size with the table's: no image token in it.
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "back")
    assert len(tokenizer) == vocabulary_size()
    assert tokenizer("USER: a").input_ids[0] == 1


def test_bin_files_hold_the_same_and_only_that(tmp_path):
    before = write_original(tmp_path / "original", "ldpnetv2")
    import_checkpoint(str(tmp_path / "original"), tmp_path / "base", log=quiet)
    export_mobilevlm(tmp_path / "base", tmp_path / "back", pickled=True, log=quiet)
    file = tmp_path / "back" / "pytorch_model.bin"
    assert bits(torch.load(file, weights_only=True)) == bits(before)
    size = sum(tensor.numel() * 2 for tensor in before.values())
    assert file.stat().st_size < size * 1.2 + 300 * len(before)
    assert not (tmp_path / "back" / "model.safetensors").exists()
    import_checkpoint(str(tmp_path / "back"), tmp_path / "again", log=quiet)
    again = (tmp_path / "again" / "model.safetensors").stat().st_size
    assert again == (tmp_path / "base" / "model.safetensors").stat().st_size


def test_large_bin_files_are_sharded_with_an_index(tmp_path):
    tensors = {f"t{i}": torch.full((10, 10), float(i)) for i in range(5)}
    forms = {name: Form(t.dtype, tuple(t.shape)) for name, t in tensors.items()}
    write_pickled(tmp_path, forms, tensors.__getitem__, quiet, shard_bytes=900)
    index = json.loads((tmp_path / "pytorch_model.bin.index.json").read_text())
    assert index["metadata"]["total_size"] == 2000
    assert sorted(set(index["weight_map"].values())) == [
        f"pytorch_model-0000{n}-of-00003.bin" for n in (1, 2, 3)
    ]
    for name, file in index["weight_map"].items():
        assert torch.equal(torch.load(tmp_path / file, weights_only=True)[name], tensors[name])


def run_on(base: Path, run: Path, settings: list[str]) -> None:
    settings = [s for s in settings if not s.startswith(("base=", "output="))]
    short = ["stage1.align_steps=1", "stage1.steps=1", "stage2.steps=3"]
    config = load_config(None, [*settings, *short, f"base={base}", f"output={run}"])
    TrainingRun(config).train()


@pytest.mark.parametrize(
    "kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])]
)
def test_trained_merged_and_written_back(tmp_path, kind, run_settings):
    before = write_original(tmp_path / "original", kind)
    run = tmp_path / "run"
    # The original folder itself is the base: imported on the way, once.
    run_on(tmp_path / "original", run, run_settings(run))
    base = base_folder(str(tmp_path / "original"), quiet)
    merge(base, run, tmp_path / "merged")
    export_mobilevlm(tmp_path / "merged", tmp_path / "back", log=quiet)
    after = load_file(tmp_path / "back" / "model.safetensors")
    assert set(after) == set(before)
    assert {tensor.dtype for tensor in after.values()} == {torch.float16}
    changed = {key for key in before if not torch.equal(after[key], before[key])}
    projector = {key for key in before if "mm_projector" in key}
    linears = {key for key in before if key.startswith("model.layers.") and "proj" in key}
    # All that was trained moved, and nothing else did: embeddings, norms, head and tower.
    assert {key for key in changed if key not in projector} == linears
    assert changed & projector
    assert all(torch.isfinite(tensor.float()).all() for tensor in after.values())
    assert (tmp_path / "back" / "tokenizer.model").is_file()


def test_full_fine_tuning_is_written_back_too(tmp_path, run_settings):
    before = write_original(tmp_path / "original", "ldpnetv2")
    run = tmp_path / "run"
    settings = [s for s in run_settings(run) if not s.startswith("ranks.")]
    run_on(tmp_path / "original", run, [*settings, "ranks.policy=full"])
    export_mobilevlm(run / "merged", tmp_path / "back", log=quiet)
    after = load_file(tmp_path / "back" / "model.safetensors")
    assert set(after) == set(before)
    tower = [key for key in before if "vision_tower" in key]
    assert tower
    assert all(torch.equal(after[key], before[key].float()) for key in tower)
    moved = after["model.layers.0.mlp.up_proj.weight"]
    assert not torch.equal(moved, before["model.layers.0.mlp.up_proj.weight"].float())
    assert (tmp_path / "back" / "tokenizer.model").read_bytes() == sentencepiece_model()
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config["_name_or_path"] == "a/path/of/its/author"


def test_an_original_folder_is_imported_once_until_it_changes(tmp_path):
    source = tmp_path / "Checkpoint"
    write_original(source, "linear")
    lines: list[str] = []
    first = base_folder(str(source), lines.append)
    assert first.name.startswith("imported-Checkpoint-")
    assert any("Importing" in line for line in lines)
    lines.clear()
    assert base_folder(str(source), lines.append) == first
    assert not lines
    config = original_config("linear", vocabulary_size()) | {"rms_norm_eps": 1e-5}
    (source / "config.json").write_text(json.dumps(config))
    assert base_folder(str(source), quiet) != first


def test_a_composed_base_gets_a_configuration_of_its_own(tmp_path):
    write_original(tmp_path / "original", "ldpnet")
    import_checkpoint(str(tmp_path / "original"), tmp_path / "base", log=quiet)
    (tmp_path / "base" / "original_config.json").unlink()
    export_mobilevlm(tmp_path / "base", tmp_path / "back", log=quiet)
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    expected = original_config("ldpnet", vocabulary_size())
    told = {"_name_or_path", "mm_vision_tower", "use_cache", "vision_config"}
    assert {key: config[key] for key in expected.keys() - told} == {
        key: expected[key] for key in expected.keys() - told
    }
    # The tower is not the published one, so its sizes are written out.
    assert config["vision_config"]["hidden_size"] == VISION["hidden"]
    import_checkpoint(str(tmp_path / "back"), tmp_path / "again", log=quiet)
    one = load_file(tmp_path / "base" / "model.safetensors")
    assert bits(load_file(tmp_path / "again" / "model.safetensors")) == bits(one)


def test_a_replaced_tower_is_named_in_the_configuration(tmp_path):
    write_original(tmp_path / "original", "linear")
    clip = write_clip(tmp_path / "clip")
    tower = str(tmp_path / "clip")
    file = tmp_path / "clip" / "config.json"
    changed = {"vision_config": CLIP_CONFIG | {"num_attention_heads": 2}}
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    import_checkpoint(str(tmp_path / "original"), tmp_path / "base", vision=tower, log=quiet)
    export_mobilevlm(tmp_path / "base", tmp_path / "back", log=quiet)
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config["mm_vision_tower"] == tower
    assert config["vision_config"]["num_attention_heads"] == 2
    after = load_file(tmp_path / "back" / "model.safetensors")
    name = "vision_model.pre_layrnorm.bias"
    assert torch.equal(after[f"{TOWER}{name}"], clip[name])


def test_bases_that_mobilevlms_code_could_not_run_are_refused(tmp_path, tiny_base):
    with pytest.raises(ArtifactError, match="pooled_mlp"):
        export_mobilevlm(tiny_base, tmp_path / "back", log=quiet)
    write_original(tmp_path / "original", "linear")
    with pytest.raises(ArtifactError, match=r"model_type.*mobilevlm.*mobile_vlm"):
        export_mobilevlm(tmp_path / "original", tmp_path / "back", log=quiet)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(("kind", "theirs"), [("ldpnet", "ldp"), ("ldpnetv2", "ldpv2")])
def test_llama_cpp_gets_the_parts_that_its_converters_read(tmp_path, kind, theirs):
    before = write_original(tmp_path / "original", kind)
    import_checkpoint(str(tmp_path / "original"), tmp_path / "base", log=quiet)
    out = tmp_path / "parts"
    commands = export_llama_cpp(tmp_path / "base", out, log=quiet)
    projector = torch.load(out / "llava.projector", weights_only=True)
    assert set(projector) == {key for key in before if key.startswith("model.mm_projector.")}
    for key, tensor in projector.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, before[key].float())
    clip = load_file(out / "clip" / "model.safetensors")
    assert set(clip) == {key.removeprefix(TOWER) for key in before if key.startswith(TOWER)}
    config = json.loads((out / "clip" / "config.json").read_text())
    assert config.items() >= CLIP_CONFIG.items()
    assert config["mm_vision_select_layer"] == -2
    ours = load_model(tmp_path / "base")
    pixels = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(3, vocabulary_size(), (1, 9), generator=torch.Generator().manual_seed(2))
    tower = CLIPVisionModel.from_pretrained(out / "clip", dtype=torch.float32).eval()
    llama = AutoModelForCausalLM.from_pretrained(out / "language", dtype=torch.float32).eval()
    with torch.no_grad():
        states = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        torch.testing.assert_close(states, ours.vision_features(pixels), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            llama(input_ids=ids).logits, ours(input_ids=ids).logits, rtol=1e-5, atol=1e-5
        )
    assert (out / "language" / "tokenizer.model").read_bytes() == sentencepiece_model()
    encoder, decoder, quantize = map(shlex.split, commands)
    assert encoder[encoder.index("--projector-type") + 1] == theirs
    assert encoder[encoder.index("--llava-projector") + 1] == str(out / "llava.projector")
    assert encoder[encoder.index("-m") + 1] == str(out / "clip")
    assert decoder[1:3] == ["convert_hf_to_gguf.py", str(out / "language")]
    assert quantize[0] == "./llama-quantize"


def test_llama_cpp_does_not_know_every_projector(tmp_path):
    write_original(tmp_path / "original", "linear")
    import_checkpoint(str(tmp_path / "original"), tmp_path / "base", log=quiet)
    with pytest.raises(ArtifactError, match=r"`mlp`[\s\S]*ldpnetv2"):
        export_llama_cpp(tmp_path / "base", tmp_path / "parts", log=quiet)
