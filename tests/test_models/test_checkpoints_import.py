from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from original_checkpoints import (
    TEXT,
    TOWER,
    original_config,
    sentencepiece_model,
    vocabulary_size,
    write_clip,
    write_original,
    write_weights,
)
from PIL import Image
from safetensors.torch import load_file

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.models.checkpoints.importing import import_checkpoint
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.processor import MobileVLMProcessor

KINDS = ("ldpnet", "ldpnetv2", "mlp2x_gelu", "linear")
FORMS = ("bin", "sharded-bin", "safetensors", "sharded-safetensors")
# Where the first tensors of each part must be, for our names to mean what they say.
LANDMARKS = {
    "model.embed_tokens.weight": "language_model.model.embed_tokens.weight",
    "model.layers.1.mlp.up_proj.weight": "language_model.model.layers.1.mlp.up_proj.weight",
    "lm_head.weight": "language_model.lm_head.weight",
    f"{TOWER}vision_model.encoder.layers.2.self_attn.q_proj.bias": (
        "vision_tower.model.encoder.layers.2.self_attn.q_proj.bias"
    ),
}
PROJECTOR_LANDMARKS = {
    "ldpnet": ("model.mm_projector.model.mlp.1.weight", "projector.mlp.1.weight"),
    "ldpnetv2": ("model.mm_projector.peg.peg.0.bias", "projector.peg.peg.0.bias"),
    "mlp2x_gelu": ("model.mm_projector.2.weight", "projector.layers.2.weight"),
    "linear": ("model.mm_projector.bias", "projector.layers.0.bias"),
}


def quiet(line: str) -> None:
    pass


def imported(folder: Path, out: Path, **options: object) -> dict[str, torch.Tensor]:
    import_checkpoint(str(folder), out, log=options.pop("log", quiet), **options)
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_arrives_bit_for_bit_under_its_name(tmp_path, kind, form):
    theirs = write_original(tmp_path / "original", kind, form)
    ours = imported(tmp_path / "original", tmp_path / "base")
    assert len(ours) == len(theirs)
    assert {tensor.dtype for tensor in ours.values()} == {torch.float16}
    places = {**LANDMARKS, **dict([PROJECTOR_LANDMARKS[kind]])}
    for key, name in places.items():
        assert torch.equal(ours[name], theirs[key])
    # Random values: no two tensors are equal, so the multisets tell that none was swapped or lost.
    assert sorted(map(fingerprint, ours.values())) == sorted(map(fingerprint, theirs.values()))


def fingerprint(tensor: torch.Tensor) -> bytes:
    return str(tuple(tensor.shape)).encode() + tensor.numpy().tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_an_import_answers_and_its_folder_is_complete(tmp_path, kind):
    write_original(tmp_path / "original", kind, "sharded-bin")
    base = tmp_path / "base"
    imported(tmp_path / "original", base)
    config = json.loads((base / "config.json").read_text())
    assert config["base"] == "original"
    assert config["base_sha256"] == sha256_of(base / "model.safetensors")
    assert config["dtype"] == "float16"
    assert config["image_token_id"] == vocabulary_size()
    assert config["num_image_tokens"] == {"ldpnet": 36}.get(kind, 144)
    assert (base / "tokenizer.model").read_bytes() == sentencepiece_model()
    model, processor = load_model(base), MobileVLMProcessor.from_pretrained(base)
    assert processor.tokenizer.token_to_id("<image>") == vocabulary_size()
    assert (processor.template.name, processor.image.fit) == ("v1", "pad")
    picture = Image.fromarray(np.full((30, 40, 3), 120, np.uint8))
    inputs = processor("Which color is it?", picture)
    with torch.no_grad():
        logits = model(**inputs).logits
    assert logits.shape[-1] == vocabulary_size()
    assert torch.isfinite(logits).all()
    assert load_model(base, "auto").dtype == torch.float16


def test_pictures_are_padded_only_where_the_checkpoint_says_so(tmp_path):
    source = tmp_path / "original"
    write_original(source, "linear")
    config = original_config("linear", vocabulary_size()) | {"image_aspect_ratio": "square"}
    (source / "config.json").write_text(json.dumps(config))
    imported(source, tmp_path / "base")
    assert MobileVLMProcessor.from_pretrained(tmp_path / "base").image.fit == "crop"


def test_constants_of_older_versions_are_ignored_and_listed(tmp_path):
    source = tmp_path / "original"
    tensors = write_original(source, "ldpnet")
    old = {
        f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4) for layer in range(2)
    }
    old[f"{TOWER}vision_model.embeddings.position_ids"] = torch.arange(145)[None]
    write_weights(source, {**tensors, **old}, "safetensors")
    lines: list[str] = []
    ours = imported(source, tmp_path / "base", log=lines.append)
    assert len(ours) == len(tensors)
    said = "\n".join(lines)
    assert "Ignored 3 tensors" in said
    assert "model.layers.*.self_attn.rotary_emb.inv_freq" in said
    record = json.loads((tmp_path / "base" / "import.json").read_text())
    assert sorted(entry.split()[0] for entry in record["ignored"]) == sorted(old)


def test_missing_unknown_and_misshapen_tensors_are_all_named(tmp_path):
    source = tmp_path / "original"
    tensors = write_original(source, "ldpnet", "sharded-bin")
    missing = "model.mm_projector.model.mb_block.2.block.1.fc1.bias"
    shape = tuple(tensors.pop(missing).shape)
    tensors["model.mm_projector.model.mb_block.3.block.0.0.weight"] = torch.zeros(32, 1, 3, 3)
    tensors["model.norm.weight"] = torch.zeros(31)
    write_weights(source, tensors, "sharded-bin")
    with pytest.raises(ArtifactError) as error:
        import_checkpoint(str(source), tmp_path / "base", log=quiet)
    said = str(error.value)
    assert f"1 missing: `{missing}` {shape}" in said
    assert "1 unknown: `model.mm_projector.model.mb_block.3.block.0.0.weight` (32, 1, 3, 3)" in said
    assert "1 of another shape: `model.norm.weight` is (31,), expected (32,)" in said
    assert not (tmp_path / "base").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_a_projector_of_another_kind_is_told_by_its_keys(tmp_path):
    source = tmp_path / "original"
    write_original(source, "ldpnetv2")
    config = original_config("ldpnet", vocabulary_size())
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=r"24.*mb_block.*6.*mlp\.mlp"):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)


def test_a_pickle_with_code_inside_is_refused(tmp_path):
    class Bad:
        def __reduce__(self):
            return (print, ("run by the unpickler",))

    source = tmp_path / "original"
    write_original(source, "linear", "bin")
    torch.save({"model.norm.weight": Bad()}, source / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"pytorch_model\.bin.*tensors"):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(ArtifactError, match=r"pytorch_model\.bin"):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)
    torch.save({"optimizer": {"state": 1}}, source / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"`optimizer`.*dict"):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)


@pytest.mark.parametrize("form", FORMS)
def test_incomplete_downloads_are_refused(tmp_path, form):
    source = tmp_path / "original"
    write_original(source, "linear", form)
    last = sorted(source.glob("*.bin")) + sorted(source.glob("*.safetensors"))
    whole = last[-1].read_bytes()
    last[-1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match=last[-1].name):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)
    last[-1].unlink()
    with pytest.raises(ArtifactError, match="not there" if "sharded" in form else "no weights"):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)


def test_a_projector_alone_is_told_as_such(tmp_path):
    source = tmp_path / "original"
    write_original(source, "linear")
    (source / "model.safetensors").rename(source / "mm_projector.bin")
    with pytest.raises(ArtifactError, match=r"mm_projector\.bin"):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)


def without_tower(source: Path, tower: str) -> dict[str, torch.Tensor]:
    tensors = write_original(source, "ldpnet")
    rest = {key: value for key, value in tensors.items() if not key.startswith(TOWER)}
    write_weights(source, rest, "safetensors")
    config = original_config("ldpnet", vocabulary_size()) | {"mm_vision_tower": tower}
    del config["vision_config"]
    (source / "config.json").write_text(json.dumps(config))
    return rest


@pytest.mark.parametrize("asked", [False, True])
def test_a_tower_outside_the_checkpoint_is_found(tmp_path, asked):
    clip = write_clip(tmp_path / "clip")
    rest = without_tower(tmp_path / "original", "" if asked else str(tmp_path / "clip"))
    lines: list[str] = []
    options = {"vision": str(tmp_path / "clip")} if asked else {}
    ours = imported(tmp_path / "original", tmp_path / "base", log=lines.append, **options)
    assert len(ours) == len(rest) + len(clip)
    name = "embeddings.patch_embedding.weight"
    assert torch.equal(ours[f"vision_tower.model.{name}"], clip[f"vision_model.{name}"])
    assert ours[f"vision_tower.model.{name}"].dtype == torch.float32
    assert ours["language_model.lm_head.weight"].dtype == torch.float16
    # CLIP's text half is not lost silently.
    assert any("text_model.final_layer_norm.weight (not needed)" in line for line in lines)


def test_a_given_tower_replaces_the_checkpoints_own(tmp_path):
    write_original(tmp_path / "original", "ldpnet")
    clip = write_clip(tmp_path / "clip", whole=False)
    lines: list[str] = []
    ours = imported(
        tmp_path / "original", tmp_path / "base", vision=str(tmp_path / "clip"), log=lines.append
    )
    name = "pre_layrnorm.weight"
    assert torch.equal(ours[f"vision_tower.model.{name}"], clip[f"vision_model.{name}"])
    assert any(line.endswith(f"{name} (replaced)") for line in lines)


def test_a_tower_that_is_nowhere_is_asked_for(tmp_path):
    without_tower(tmp_path / "original", "/home/author/clip-vit-large-patch14-336")
    with pytest.raises(ArtifactError, match=r"/home/author[\s\S]*--vision"):
        import_checkpoint(str(tmp_path / "original"), tmp_path / "base", log=quiet)


def test_without_network_the_way_out_is_named(tmp_path):
    with pytest.raises(HydraError, match=r"mtgv/MobileVLM-1.7B[\s\S]*folder"):
        import_checkpoint("mtgv/MobileVLM-1.7B", tmp_path / "base", log=quiet)
    with pytest.raises(ArtifactError, match=r"config\.json"):
        import_checkpoint(str(tmp_path / "nothing"), tmp_path / "base", log=quiet)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mm_projector_type": "resampler"}, "mm_projector_type is 'resampler'"),
        ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end"),
        ({"vision_config": {"model_type": "dinov2"}}, "'dinov2'"),
    ],
)
def test_what_this_project_has_no_part_for_is_refused(tmp_path, change, reason):
    source = tmp_path / "original"
    write_original(source, "ldpnet")
    config = original_config("ldpnet", vocabulary_size()) | change
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=reason):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)


def test_foreign_folders_are_refused_with_the_right_command(tmp_path, tiny_base):
    with pytest.raises(ArtifactError, match="base"):
        import_checkpoint(str(tiny_base), tmp_path / "base", log=quiet)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ArtifactError, match="hydra-mobile compose"):
        import_checkpoint(str(tmp_path), tmp_path / "base", log=quiet)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"}))
    with pytest.raises(ArtifactError, match="'qwen2_vl'"):
        import_checkpoint(str(tmp_path), tmp_path / "base", log=quiet)


def test_the_source_is_never_replaced(tmp_path):
    write_original(tmp_path / "original", "linear")
    for out in (tmp_path / "original", tmp_path):
        with pytest.raises(ArtifactError, match="would replace"):
            import_checkpoint(str(tmp_path / "original"), out, log=quiet)


def test_added_tokens_need_a_row_of_the_table(tmp_path):
    source = tmp_path / "original"
    rows = vocabulary_size()
    tensors = write_original(source, "linear")
    (source / "added_tokens.json").write_text(json.dumps({"<pad>": rows}))
    lines: list[str] = []
    imported(source, tmp_path / "base", log=lines.append)
    assert f"added_tokens.json: `<pad>` (id {rows}) has no row" in "\n".join(lines)
    assert MobileVLMProcessor.from_pretrained(tmp_path / "base").text_ids("<image>") == [rows]
    # With a row for it, it is one of the vocabulary.
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[key] = torch.cat([tensors[key], torch.zeros(1, TEXT["hidden"]).half()])
    write_weights(source, tensors, "safetensors")
    (source / "config.json").write_text(json.dumps(original_config("linear", rows + 1)))
    imported(source, tmp_path / "base")
    processor = MobileVLMProcessor.from_pretrained(tmp_path / "base")
    assert processor.text_ids("<pad>") == [rows]
    assert processor.image_token_id == rows + 1
    # Ids that the tokenizer cannot give are not taken silently.
    (source / "added_tokens.json").write_text(json.dumps({"<pad>": rows - 1}))
    with pytest.raises(ArtifactError, match=rf"`<pad>`.*{rows - 1}"):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)


def test_a_tokenizer_of_a_larger_model_is_refused(tmp_path):
    source = tmp_path / "original"
    rows = vocabulary_size() - 10
    tensors = write_original(source, "linear")
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[key] = tensors[key][:rows].contiguous()
    write_weights(source, tensors, "safetensors")
    (source / "config.json").write_text(json.dumps(original_config("linear", rows)))
    with pytest.raises(ArtifactError, match=rf"{rows + 10} tokens.*{rows} rows"):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)


def test_rows_without_a_token_keep_the_image_token_behind_them(tmp_path):
    source = tmp_path / "original"
    rows = vocabulary_size() + 3
    tensors = write_original(source, "linear")
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[key] = torch.cat([tensors[key], torch.zeros(3, TEXT["hidden"]).half()])
    write_weights(source, tensors, "safetensors")
    (source / "config.json").write_text(json.dumps(original_config("linear", rows)))
    imported(source, tmp_path / "base")
    assert MobileVLMProcessor.from_pretrained(tmp_path / "base").text_ids("<image>") == [rows]


def test_a_tokenizer_json_has_to_put_a_space_before_a_text(tmp_path):
    from hydra_mobile.models.sentencepiece import tokenizer_from_sentencepiece

    source = tmp_path / "original"
    write_original(source, "linear")
    fast = tokenizer_from_sentencepiece(source / "tokenizer.model")
    (source / "tokenizer.model").unlink()
    with pytest.raises(ArtifactError, match="tokenizer"):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)
    fast.save(str(source / "tokenizer.json"))
    imported(source, tmp_path / "base")
    processor = MobileVLMProcessor.from_pretrained(tmp_path / "base")
    assert processor.text_ids("USER: a") == fast.encode("USER: a").ids
    fast.normalizer = None
    fast.save(str(source / "tokenizer.json"))
    with pytest.raises(ArtifactError, match="space"):
        import_checkpoint(str(source), tmp_path / "base", log=quiet)


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    write_original(tmp_path / "original", "linear")
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(HydraError, match=r"(?i)space.*original"):
        import_checkpoint(str(tmp_path / "original"), tmp_path / "base", log=quiet)
