import copy
import json
import re

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.identity import BaseIdentity, base_identity
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.lora_layers import lora_layers
from hydra_mobile.adapters.policies import PolicyInput, allocate
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.roundtrip import skeleton, verify
from hydra_mobile.adapters.save_load import load_adapter, read_adapter, save_adapter
from hydra_mobile.core.errors import ArtifactError, BudgetError
from hydra_mobile.core.files import sha256_of

BASE = BaseIdentity("owner/base", "a" * 64)
ALPHA = 12.5  # the factors of folding are no powers of two


@pytest.fixture
def rank_map(budget: Budget) -> RankMap:
    return allocate("random", PolicyInput(budget, rank_step=1, r_min=0, seed=1))


@pytest.fixture
def trained(model, rank_map):
    trained = copy.deepcopy(model)
    inject(trained, rank_map, r_ref=8, alpha_ref=ALPHA)
    with torch.no_grad():
        for parameter in lora_parameters(trained).values():
            parameter.normal_()
        trained.projector.weight.normal_()
    return trained


@pytest.fixture
def save(trained, rank_map, budget, tmp_path):
    def save(**changes):
        projector = {f"projector.{k}": v for k, v in trained.projector.state_dict().items()}
        arguments = {
            "rank_map": rank_map,
            "budget": budget,
            "alpha_ref": ALPHA,
            "base": BASE,
            "extra_tensors": {"projector.safetensors": projector},
        }
        save_adapter(trained, tmp_path / "adapter", **arguments | changes)
        return tmp_path / "adapter"

    return save


def test_stock_peft_computes_the_same_logits(model, trained, save, ids):
    folder = save()
    expected = trained(ids)
    assert (expected - model(ids)).abs().max() > 0.05
    loaded = PeftModel.from_pretrained(copy.deepcopy(model), folder)
    assert torch.allclose(loaded(ids), expected, atol=1e-5)
    ours = copy.deepcopy(model)
    load_adapter(ours, folder, base=BASE)
    assert torch.allclose(ours(ids), expected, atol=1e-5)
    assert torch.equal(ours.projector.weight, trained.projector.weight)


def test_the_files_say_what_portable_readers_expect(save, rank_map, budget, model):
    folder = save(extra_files={"notes.txt": "kept"})
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["lora_alpha"] == ALPHA
    assert config["alpha_pattern"] == {}
    assert not config["use_rslora"]
    assert config["target_modules"] == sorted(rank_map)
    assert config["r"] == max(rank_map.values())
    modules = [name for name, _ in model.named_modules()]
    for key, rank in config["rank_pattern"].items():
        matching = [name for name in modules if re.match(rf"(.*\.)?({key})$", name)]
        assert len(matching) == 1
        assert rank_map[matching[0]] == rank
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    assert sum(t.numel() for t in tensors.values()) == budget.cost_of(rank_map)
    # Rank 0 means absent.
    absent = set(budget.cost) - set(rank_map)
    assert all(name not in key for name in absent for key in tensors)
    card = (folder / "README.md").read_text()
    assert "PeftModel.from_pretrained" in card
    assert "projector.safetensors" in card
    assert (folder / "notes.txt").read_text() == "kept"


def test_equal_tensors_give_equal_files(save):
    first = {path.name: path.read_bytes() for path in save().iterdir()}
    assert {path.name: path.read_bytes() for path in save().iterdir()} == first


def test_saving_leaves_the_random_stream_alone(save):
    state = torch.get_rng_state()
    save()
    assert torch.equal(state, torch.get_rng_state())


def test_reading_gives_the_trained_deltas(trained, save, rank_map):
    adapter = read_adapter(save(), base=BASE)
    assert adapter.rank_map == rank_map
    assert adapter.base == BASE
    for name, layer in lora_layers(trained).items():
        assert torch.allclose(adapter.delta(name), layer.get_delta_weight("default"), atol=1e-5)


def test_rank_one_everywhere(model, names, tmp_path):
    budget = Budget.of(model, names, 1)
    rank_map = allocate("uniform", PolicyInput(budget))
    inject(model, rank_map, r_ref=1, alpha_ref=2)
    arguments = {"rank_map": rank_map, "budget": budget, "base": BASE, "alpha_ref": 2.0}
    save_adapter(model, tmp_path / "adapter", **arguments)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["lora_alpha"] == 2
    assert isinstance(config["lora_alpha"], int)
    assert "projector" not in (tmp_path / "adapter" / "README.md").read_text()


class TestReloadCatches:
    """Negative controls: stock peft loads these without an error of its own, or nearly so."""

    @pytest.fixture
    def check(self, trained, rank_map, budget):
        return lambda folder: verify(folder, trained, rank_map, budget)

    def edit(self, folder, change):
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config))

    def edit_tensors(self, folder, change):
        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    def test_the_right_folder_passes(self, save, check):
        check(save())

    def test_a_misspelt_pattern_key(self, save, check):
        folder = save()

        def misspell(config):
            key = next(k for k, rank in config["rank_pattern"].items() if rank == config["r"])
            config["rank_pattern"][key.replace("_proj", "_prj")] = config["rank_pattern"].pop(key)

        self.edit(folder, misspell)
        with pytest.raises(ArtifactError, match="Stock peft"):
            check(folder)

    def test_a_misspelt_target(self, save, check):
        folder = save()
        self.edit(folder, lambda c: c["target_modules"].append(c["target_modules"].pop(0) + "x"))
        with pytest.raises(ArtifactError, match="Stock peft"):
            check(folder)

    def test_a_bare_suffix_that_hits_the_vision_tower(self, save, check):
        folder = save()
        self.edit(folder, lambda c: c["target_modules"].append("q_proj"))
        with pytest.raises(ArtifactError, match="Stock peft"):
            check(folder)

    def test_an_unfolded_b(self, save, check, trained):
        folder = save()

        def unfold(tensors):
            for name, layer in lora_layers(trained).items():
                key = f"base_model.model.{name}.lora_B.weight"
                tensors[key] = layer.lora_B["default"].weight.detach().clone()

        self.edit_tensors(folder, unfold)
        with pytest.raises(ArtifactError, match="another update"):
            check(folder)

    def test_an_alpha_pattern_or_another_alpha(self, save, check):
        folder = save()
        self.edit(folder, lambda c: c.update(lora_alpha=2 * ALPHA))
        with pytest.raises(ArtifactError, match="another update"):
            check(folder)

    def test_a_missing_and_a_nan_tensor(self, save, check):
        folder = save()
        self.edit_tensors(folder, lambda tensors: next(iter(tensors.values())).fill_(float("nan")))
        with pytest.raises(ArtifactError, match="another update"):
            check(folder)
        self.edit_tensors(folder, lambda tensors: tensors.pop(next(iter(tensors))))
        with pytest.raises(ArtifactError, match="Stock peft"):
            check(folder)


def test_a_failed_check_leaves_no_folder(save, monkeypatch, tmp_path):
    def unfolded(live, scales, alpha_ref, r_ref):
        return {
            f"base_model.model.{name}.lora_{side}.weight": tensor.detach()
            for name, pair in live.items()
            for side, tensor in zip("AB", pair, strict=True)
        }

    monkeypatch.setattr("hydra_mobile.adapters.save_load.folded_tensors", unfolded)
    with pytest.raises(ArtifactError, match="another update"):
        save()
    assert list(tmp_path.iterdir()) == []


def test_what_save_refuses(save, rank_map, budget):
    with pytest.raises(ArtifactError, match="hash"):
        save(base=BaseIdentity("x", ""))
    with pytest.raises(ArtifactError, match="rank map"):
        save(rank_map=RankMap({**rank_map, next(iter(rank_map)): 30}))
    with pytest.raises(BudgetError, match="too many"):
        save(budget=Budget(budget.cost, 4))


class TestReadRefuses:
    def test_another_base(self, save):
        with pytest.raises(ArtifactError, match="owner/base"):
            read_adapter(save(), base=BaseIdentity("other", "b" * 64))

    @pytest.mark.parametrize("file", ["adapter_model.safetensors", "projector.safetensors"])
    def test_a_truncated_file(self, save, file):
        path = save() / file
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ArtifactError, match=rf"{file}.*safetensors"):
            read_adapter(path.parent)

    @pytest.mark.parametrize("file", ["adapter_model.safetensors", "projector.safetensors"])
    def test_an_altered_file(self, save, file):
        path = save() / file
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match="altered"):
            read_adapter(path.parent)

    @pytest.mark.parametrize(
        "file", ["adapter_model.safetensors", "hydra.json", "adapter_config.json"]
    )
    def test_a_missing_file(self, save, file):
        folder = save()
        (folder / file).unlink()
        with pytest.raises(ArtifactError, match=rf"{file}.*missing"):
            read_adapter(folder)

    def test_an_edited_configuration(self, save):
        folder = save()
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 99}))
        with pytest.raises(ArtifactError, match="describe"):
            read_adapter(folder)

    def test_a_record_without_a_key(self, save):
        folder = save()
        path = folder / "hydra.json"
        record = json.loads(path.read_text())
        del record["files"]
        path.write_text(json.dumps(record))
        with pytest.raises(ArtifactError, match="`files`"):
            read_adapter(folder)

    def test_another_schema(self, save):
        folder = save()
        path = folder / "hydra.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2}))
        with pytest.raises(ArtifactError, match="schema 2"):
            read_adapter(folder)


def test_the_skeleton_needs_no_memory(trained, names):
    hollow = skeleton(trained)
    assert {n for n, _ in hollow.named_modules()} >= set(names)
    assert hollow.get_submodule(names[0]).weight.untyped_storage().nbytes() == 4
    assert not lora_layers(hollow)


def test_base_identity(tmp_path):
    with pytest.raises(ArtifactError, match=r"config\.json.*missing"):
        base_identity(tmp_path)
    (tmp_path / "config.json").write_text('{"base": "smol", "base_sha256": "abc"}')
    with pytest.raises(ArtifactError, match=r"model\.safetensors.*missing"):
        base_identity(tmp_path)
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    first = base_identity(tmp_path)
    assert first == BaseIdentity("smol", sha256_of(tmp_path / "model.safetensors"))
    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert first.sha256 != base_identity(tmp_path).sha256
    (tmp_path / "config.json").write_text("{}")
    assert base_identity(tmp_path).name == tmp_path.name


def test_an_index_that_leaves_its_folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": {"w": "../outside.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ArtifactError, match=r"outside\.safetensors"):
        base_identity(tmp_path)
