import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from hydra_mobile.adapters.lora import (
    extract_state,
    inject,
    live_rank_map,
    load_state,
    lora_parameters,
    remove,
)
from hydra_mobile.adapters.lora_layers import lora_layers
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ArtifactError, ConfigError


def varied(names):
    return RankMap({name: 1 + i % 8 for i, name in enumerate(names)})


def test_ranks_scale_and_freezing(model, names, ids):
    model.vision_tower.requires_grad_(False)
    model.language_model.requires_grad_(False)
    before = model(ids)
    inject(model, varied(names), r_ref=3, alpha_ref=16)
    assert live_rank_map(model) == varied(names)
    assert set(lora_layers(model)) == set(names)
    assert {layer.scaling["default"] for layer in lora_layers(model).values()} == {16 / 3}
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in trainable if "lora" not in name} == {
        "projector.weight",
        "projector.bias",
    }
    assert len(lora_parameters(model)) == 2 * len(names)
    assert all(
        p.requires_grad and p.dtype == torch.float32 for p in lora_parameters(model).values()
    )
    # B is zero: nothing has changed yet.
    assert torch.equal(model(ids), before)


def test_adapted_weights_freeze_even_if_they_were_trainable(model, names):
    inject(model, varied(names), r_ref=8, alpha_ref=16)
    assert all(not lora_layers(model)[n].base_layer.weight.requires_grad for n in names)
    assert model.language_model.lm_head.weight.requires_grad


def test_at_the_start_a_has_no_gradient_and_b_has(model, names, ids):
    # The trap that rules out gradient norms of A as scores.
    inject(model, varied(names), r_ref=8, alpha_ref=16)
    model.language_model(input_ids=ids, labels=ids).loss.backward()
    for name, parameter in lora_parameters(model).items():
        if ".lora_A." in name:
            assert parameter.grad.abs().max() == 0
        else:
            assert parameter.grad.abs().max() > 0


def test_start_depends_on_seed_and_name_only(model, names):
    other = copy.deepcopy(model)
    state = torch.get_rng_state()
    inject(model, varied(names), r_ref=8, alpha_ref=16, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    ranks = dict(reversed(list(varied(names).items())))
    del ranks[names[3]]
    torch.manual_seed(99)
    inject(other, RankMap(ranks), r_ref=8, alpha_ref=16, seed=1)
    first, second = lora_parameters(model), lora_parameters(other)
    assert all(torch.equal(first[name], tensor) for name, tensor in second.items())
    a = {n: p for n, p in first.items() if n.endswith(f"{names[7]}.lora_A.weight")}
    remove(other)
    inject(other, varied(names), r_ref=8, alpha_ref=16, seed=2)
    assert not any(torch.equal(lora_parameters(other)[n], p) for n, p in a.items())


def test_uniform_is_plain_lora_bit_for_bit(model, names, ids):
    plain = copy.deepcopy(model)
    inject(model, RankMap(dict.fromkeys(names, 8)), r_ref=8, alpha_ref=16)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=names)
    wrapped = get_peft_model(plain, config)
    ours = lora_parameters(model)
    theirs = lora_parameters(wrapped.base_model.model)
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.copy_(ours[name])
    optimizers = [torch.optim.AdamW(group.values(), lr=1e-2) for group in (ours, theirs)]
    for _ in range(3):
        losses = []
        for net, optimizer in zip((model, wrapped.base_model.model), optimizers, strict=True):
            loss = net.language_model(input_ids=ids, labels=ids).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == losses[1]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_state_round_trip_and_removal(model, names, ids):
    base = copy.deepcopy(model)
    inject(model, varied(names), r_ref=8, alpha_ref=16)
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.normal_()
    state, logits = extract_state(model), model(ids)
    assert not torch.equal(logits, base(ids))
    other = copy.deepcopy(base)
    inject(other, varied(names), r_ref=8, alpha_ref=16, seed=5)
    load_state(other, state)
    assert torch.equal(other(ids), logits)
    remove(model)
    assert torch.equal(model(ids), base(ids))
    assert list(model.state_dict()) == list(base.state_dict())
    with pytest.raises(ArtifactError, match="differ"):
        load_state(model, state)
    inject(model, RankMap(dict.fromkeys(names, 2)), r_ref=8, alpha_ref=16)
    with pytest.raises(ArtifactError, match="shape"):
        load_state(model, state)


def test_half_precision_bases_get_fp32_lora(model, names, ids):
    model = model.to(torch.bfloat16)
    inject(model, varied(names), r_ref=8, alpha_ref=16)
    assert {p.dtype for p in lora_parameters(model).values()} == {torch.float32}
    assert model(ids).dtype == torch.bfloat16


def test_refusals(model, names):
    with pytest.raises(ConfigError, match="Did you mean"):
        inject(model, RankMap({names[0] + "x": 4}), r_ref=8, alpha_ref=16)
    with pytest.raises(ConfigError, match="empty"):
        inject(model, RankMap({}), r_ref=8, alpha_ref=16)
    inject(model, varied(names), r_ref=8, alpha_ref=16)
    with pytest.raises(ConfigError, match="already"):
        inject(model, varied(names), r_ref=8, alpha_ref=16)


def test_a_name_that_ends_another_name_is_refused():
    # peft would wrap both, silently.
    model = nn.ModuleDict({"q": nn.Linear(4, 4), "tower": nn.ModuleDict({"q": nn.Linear(4, 4)})})
    with pytest.raises(ConfigError, match=r"`tower\.q`.*`q`"):
        inject(model, RankMap({"q": 2}), r_ref=2, alpha_ref=4)
