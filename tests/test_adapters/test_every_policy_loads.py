"""Whatever chose the ranks: train, save, load with stock peft on a fresh base, compare."""

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

from hydra_mobile.adapters.adalora import AdaLora
from hydra_mobile.adapters.allocate_layers import layer_of
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.folder_files import CONFIG_FILE, TENSOR_FILE
from hydra_mobile.adapters.identity import BaseIdentity
from hydra_mobile.adapters.importance import measure
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.lora_layers import lora_layers, lora_tensors
from hydra_mobile.adapters.policies import POLICIES, PolicyInput, allocate, policy_named
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.roundtrip import verify
from hydra_mobile.adapters.save_load import save_adapter
from hydra_mobile.core.errors import ArtifactError

BASE = BaseIdentity("owner/base", "a" * 64)
ALPHA = 12.5  # the factors of folding are no powers of two
STEPS = 3
EVERY = sorted([*POLICIES, "adalora"])


@dataclass
class Trained:
    model: nn.Module
    rank_map: RankMap
    budget: Budget
    folder: Path

    def check(self) -> None:
        verify(self.folder, self.model, self.rank_map, self.budget)


def loss_of(model, ids):
    return cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def train(model, parameters, ids, after_step=lambda step: None):
    optimizer = torch.optim.AdamW(parameters.values(), lr=3e-2)
    for step in range(1, STEPS + 1):
        loss_of(model, ids).backward()
        optimizer.step()
        after_step(step)
        optimizer.zero_grad()


def train_adalora(model, names, budget, ids) -> RankMap:
    adalora = AdaLora.build(
        model, names, budget, alpha_ref=ALPHA, total_steps=STEPS, warmup_share=0, seed=1
    )
    train(adalora.model, adalora.parameters(), ids, adalora.update)
    return adalora.to_lora()


def train_lora(policy, model, budget, ids, map_file) -> RankMap:
    # Modules without an adapter included.
    RankMap({name: i % 8 for i, name in enumerate(budget.cost)}).write(map_file)
    scores = None
    if policy_named(policy).needs_importance:
        scores = measure(model, budget.cost, [ids], loss_of).mean_of_norms
        # Apart: layers that differ by noise only would all get the same rank.
        scores = {name: score * 4.0 ** int(layer_of(name)[-1]) for name, score in scores.items()}
    inputs = PolicyInput(budget, scores, rank_step=1, r_min=1, seed=1, map_file=map_file)
    rank_map = allocate(policy, inputs)
    inject(model, rank_map, r_ref=budget.r_ref, alpha_ref=ALPHA)
    train(model, lora_parameters(model), ids)
    return rank_map


@pytest.fixture(params=EVERY)
def trained(request, model, names, budget, ids, tmp_path) -> Trained:
    ours = copy.deepcopy(model)
    if request.param == "adalora":
        rank_map = train_adalora(ours, names, budget, ids)
    else:
        rank_map = train_lora(request.param, ours, budget, ids, tmp_path / "ranks.json")
    folder = tmp_path / "adapter"
    save_adapter(ours, folder, rank_map=rank_map, budget=budget, alpha_ref=ALPHA, base=BASE)
    return Trained(ours, rank_map, budget, folder)


def test_stock_peft_reads_what_was_trained(trained, model, ids):
    with torch.no_grad():
        expected = trained.model(ids)
        assert (expected - model(ids)).abs().max() > 0.02
        loaded = PeftModel.from_pretrained(copy.deepcopy(model), trained.folder)
        assert (loaded(ids) - expected).abs().max() <= 1e-5
    inner = loaded.base_model.model
    theirs, tensors = lora_layers(inner), lora_tensors(inner)
    assert RankMap({name: len(a) for name, (a, _) in tensors.items()}) == trained.rank_map
    for name, layer in lora_layers(trained.model).items():
        # The scale of the file and the factor folded into its B make the constant scale.
        folded = tensors[name][1].norm() / lora_tensors(trained.model)[name][1].norm()
        scale = theirs[name].scaling["default"] * folded.item()
        assert scale == pytest.approx(ALPHA / trained.budget.r_ref, rel=1e-5)
        delta, wanted = theirs[name].get_delta_weight("default"), layer.get_delta_weight("default")
        assert torch.allclose(delta, wanted, rtol=1e-5, atol=1e-6)

    config = json.loads((trained.folder / CONFIG_FILE).read_text())
    assert config["alpha_pattern"] == {}
    assert len(config["rank_pattern"]) == len(trained.rank_map)
    modules = [name for name, _ in model.named_modules()]
    for key, rank in config["rank_pattern"].items():
        # As peft matches.
        (name,) = [name for name in modules if re.match(rf"(.*\.)?({key})$", name)]
        assert not name.startswith(("vision_tower", "projector"))
        assert trained.rank_map[name] == rank


def test_the_reread_check_catches_a_misspelt_key_and_an_unfolded_b(trained, request):
    trained.check()
    equal = set(trained.rank_map.values()) == {trained.budget.r_ref}
    assert equal == (request.node.callspec.params["trained"] in ("uniform", "hydra"))
    path = trained.folder / CONFIG_FILE
    config = json.loads(path.read_text())
    ranks = config["rank_pattern"]
    # Of a module whose rank peft's default does not happen to give, where there is one.
    key = min(ranks, key=ranks.get)
    wrong = {k.replace("_proj", "_prj") if k == key else k: rank for k, rank in ranks.items()}
    path.write_text(json.dumps(config | {"rank_pattern": wrong}))
    with pytest.raises(ArtifactError, match="Stock peft"):
        trained.check()
    path.write_text(json.dumps(config))

    path = trained.folder / TENSOR_FILE
    tensors = load_file(path)
    for name, (_, b) in lora_tensors(trained.model).items():
        tensors[f"base_model.model.{name}.lora_B.weight"] = b.detach().clone()
    save_file(tensors, path, metadata={"format": "pt"})
    if equal:
        # At the reference rank there is nothing to fold.
        trained.check()
    else:
        with pytest.raises(ArtifactError, match="another update"):
            trained.check()
