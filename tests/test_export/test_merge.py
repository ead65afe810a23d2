import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from hydra_export.merge import merge
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.policies import PolicyInput, allocate
from hydra_mobile.adapters.save_load import load_adapter, save_adapter
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.core.safetensors_io import overwrite_tensor, places, read_tensor

KINDS = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")


class TinyVLM(nn.Module):
    """A projector beside a Llama with tied embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.projector = nn.Linear(8, 32)
        config = LlamaConfig(
            hidden_size=32,
            intermediate_size=88,
            num_hidden_layers=2,
            num_attention_heads=4,
            vocab_size=128,
            tie_word_embeddings=True,
        )
        self.language_model = LlamaForCausalLM(config)

    def forward(self, ids):
        embeddings = self.language_model.get_input_embeddings()(ids)
        image = self.projector(torch.ones(ids.shape[0], 3, 8, dtype=embeddings.dtype))
        return self.language_model(inputs_embeds=torch.cat([image, embeddings], 1)).logits


@pytest.fixture
def ids():
    return torch.randint(0, 128, (2, 7), generator=torch.Generator().manual_seed(1))


def write_base(folder, model, shards=1, **config):
    folder.mkdir()
    tensors = {n: t for n, t in model.state_dict().items() if "lm_head" not in n}
    names = sorted(tensors)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        weight_map = {}
        for shard in range(shards):
            file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
            part = {n: tensors[n] for n in names[shard::shards]}
            save_file(part, folder / file, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(part, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({"base": "tiny"} | config))
    (folder / "tokenizer.json").write_text('{"kept": true}')
    (folder / ".hidden").write_text("not copied")
    return folder


@pytest.fixture
def make(tmp_path):
    """Build a base and a trained adapter; return (base folder, adapter folder, trained model)."""

    def make(dtype=torch.float32, shards=1, name="base", seed=0, **config):
        torch.manual_seed(seed)
        model = TinyVLM().to(dtype).eval()
        base = write_base(tmp_path / name, model, shards, **config)
        names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
        budget = Budget.of(model, [n for n in names if n.endswith(KINDS)], 4)
        rank_map = allocate("random", PolicyInput(budget, rank_step=1, r_min=0, seed=2))
        inject(model, rank_map, r_ref=4, alpha_ref=7.0)
        with torch.no_grad():
            for parameter in lora_parameters(model).values():
                parameter.normal_(std=0.3)
            model.projector.weight.normal_()
        projector = {f"projector.{k}": v for k, v in model.projector.state_dict().items()}
        adapter = tmp_path / f"{name}-run" / "adapter"
        save_adapter(
            model,
            adapter,
            rank_map=rank_map,
            budget=budget,
            alpha_ref=7.0,
            base=base_identity(base),
            extra_tensors={"projector.safetensors": projector},
        )
        return base, adapter, model

    return make


def belongs_to(adapter, base):
    """Let an adapter's record name the weights that `base` has now."""
    record = json.loads((adapter / "hydra.json").read_text())
    record["base"]["sha256"] = base_identity(base).sha256
    (adapter / "hydra.json").write_text(json.dumps(record))


def read_folder(folder):
    return {k: v for f in sorted(folder.glob("*.safetensors")) for k, v in load_file(f).items()}


def load_model(folder, dtype=torch.float32):
    model = TinyVLM().to(dtype).eval()
    missing, unexpected = model.load_state_dict(read_folder(folder), strict=False)
    assert set(missing) <= {"language_model.lm_head.weight"}
    assert not unexpected
    return model


@pytest.mark.parametrize("shards", [1, 3])
def test_merged_equals_unmerged_and_the_rest_is_bit_identical(make, tmp_path, ids, shards):
    base, adapter, trained = make(shards=shards)
    lines = []
    report = merge(base, adapter, tmp_path / "merged", log=lines.append)
    assert report.out == tmp_path / "merged"
    assert json.loads((report.out / "merge.json").read_text())["out"] == "merged"
    merged = load_model(tmp_path / "merged")
    logits = trained(ids)
    assert (logits - load_model(base)(ids)).abs().max() > 0.1
    assert torch.allclose(merged(ids), logits, atol=1e-5)
    assert merged.language_model.lm_head.weight is merged.language_model.model.embed_tokens.weight

    before, after = read_folder(base), read_folder(tmp_path / "merged")
    changed = {*report.merged, *report.replaced}
    assert list(before) == list(after)
    assert {name for name in before if not torch.equal(before[name], after[name])} <= changed
    assert report.untouched == len(before) - len(changed)
    assert report.replaced == ["projector.bias", "projector.weight"]
    assert torch.equal(after["projector.weight"], trained.projector.weight)
    assert lines

    assert (tmp_path / "merged" / "tokenizer.json").read_text() == '{"kept": true}'
    assert not (tmp_path / "merged" / ".hidden").exists()
    written = json.loads((tmp_path / "merged" / "merge.json").read_text())
    assert written["schema"] == 1
    assert written["merged"] == report.merged
    assert written["sources"]["base"]["name"] == "tiny"
    assert set(written["files"]) == {f.name for f in base.iterdir()} - {".hidden"}


def test_half_precision_is_rounded_once(make, tmp_path):
    base, adapter, _ = make(torch.bfloat16)
    report = merge(base, adapter, tmp_path / "merged")
    reference = TinyVLM().eval()
    reference.load_state_dict({k: v.float() for k, v in read_folder(base).items()}, strict=False)
    read = load_adapter(reference, adapter)
    after = read_folder(tmp_path / "merged")
    for name in report.merged:
        module = name.removesuffix(".weight")
        wide = read_folder(base)[name].float() + read.delta(module)
        assert after[name].dtype == torch.bfloat16
        assert torch.equal(after[name], wide.to(torch.bfloat16))


def test_a_run_folder_is_as_good_as_its_adapter(make, tmp_path):
    base, adapter, _ = make()
    first = merge(base, adapter, tmp_path / "first")
    assert merge(base, adapter.parent, tmp_path / "second").files == first.files


class TestRefusals:
    def refuse(self, base, adapter, out, message):
        with pytest.raises(ArtifactError, match=message):
            merge(base, adapter, out)
        assert not out.exists()

    def test_another_base(self, make, tmp_path):
        _, adapter, _ = make()
        other, _, _ = make(name="other", seed=1)
        self.refuse(other, adapter, tmp_path / "merged", "was trained on base `tiny`")

    def test_an_edited_base_that_keeps_its_note(self, make, tmp_path):
        base, _, _ = make()
        note = {"base": "tiny", "base_sha256": sha256_of(base / "model.safetensors")}
        (base / "config.json").write_text(json.dumps(note))
        _, adapter, _ = make(name="same")
        tensors = load_file(base / "model.safetensors")
        tensors["projector.weight"].neg_()
        save_file(tensors, base / "model.safetensors")
        self.refuse(base, adapter, tmp_path / "merged", "was trained on base `tiny`")

    def test_merging_twice(self, make, tmp_path):
        base, adapter, _ = make()
        merge(base, adapter, tmp_path / "merged")
        self.refuse(tmp_path / "merged", adapter, tmp_path / "twice", "already a merged model")

    def test_a_tensor_without_counterpart(self, make, tmp_path):
        base, adapter, _ = make()
        tensors = load_file(base / "model.safetensors")
        name = "language_model.model.layers.1.self_attn.o_proj.weight"
        tensors["renamed"] = tensors.pop(name)
        save_file(tensors, base / "model.safetensors")
        belongs_to(adapter, base)
        self.refuse(base, adapter, tmp_path / "merged", "does not hold")
        tensors[name] = tensors.pop("renamed")[:, :4].contiguous()
        save_file(tensors, base / "model.safetensors")
        belongs_to(adapter, base)
        self.refuse(base, adapter, tmp_path / "merged", "has shape")

    def test_a_truncated_base_and_a_truncated_adapter(self, make, tmp_path):
        base, adapter, _ = make()
        path = adapter / "adapter_model.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[:-10])
        self.refuse(base, adapter, tmp_path / "merged", "complete safetensors file")
        path.write_bytes(whole)
        path = base / "model.safetensors"
        for cut in (path.read_bytes()[:-10], path.read_bytes()[:40], b"abc"):
            path.write_bytes(cut)
            self.refuse(base, adapter, tmp_path / "merged", "complete safetensors file")
        path.unlink()
        self.refuse(base, adapter, tmp_path / "merged", r"model\.safetensors is missing")

    def test_an_output_that_would_swallow_its_source(self, make, tmp_path):
        base, adapter, _ = make()
        for out in (base, adapter, adapter.parent):
            with pytest.raises(ArtifactError, match="would overwrite"):
                merge(base, adapter, out)
        assert (base / "model.safetensors").exists()

    def test_a_quantized_base(self, make, tmp_path):
        base, adapter, _ = make()
        tensors = load_file(base / "model.safetensors")
        name = "language_model.model.layers.1.mlp.up_proj.weight"
        tensors[name] = tensors[name].to(torch.int8)
        save_file(tensors, base / "model.safetensors")
        belongs_to(adapter, base)
        self.refuse(base, adapter, tmp_path / "merged", "dtype I8")


def test_a_tensor_is_overwritten_where_it_lies(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.randn(5).bfloat16(), "c": torch.tensor(2.0)}
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    found = places(path)
    tensors["b"] = torch.arange(5.0)
    overwrite_tensor(path, "b", found["b"], tensors["b"])
    for name, tensor in load_file(path).items():
        assert torch.equal(tensor, tensors[name].to(tensor.dtype))
        assert torch.equal(read_tensor(path, name), tensor)
