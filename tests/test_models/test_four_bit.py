import copy
import importlib.util
import sys

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.identity import BaseIdentity
from hydra_mobile.adapters.lora import inject, live_rank_map, lora_parameters
from hydra_mobile.adapters.lora_layers import adapted_linears, lora_layers
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.save_load import load_adapter, save_adapter
from hydra_mobile.core.errors import ConfigError, HydraError
from hydra_mobile.models.four_bit import quantize_linears
from hydra_mobile.models.loading import load_model
from hydra_mobile.training.adapted_modules import adapted_modules
from hydra_mobile.training.memory.estimate import estimate

installed = importlib.util.find_spec("bitsandbytes") is not None
needs_package = pytest.mark.skipif(not installed, reason="needs the extra bitsandbytes")
IDS = torch.randint(0, 128, (4, 24), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def full():
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=128,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


@pytest.fixture
def model(full):
    model = copy.deepcopy(full)
    quantize_linears(model, compute_dtype=torch.float32)
    return model


def ranks_of(model):
    names = [name for name in adapted_linears(model) if ".layers." in name]
    return RankMap({name: 2 + 2 * (i % 3) for i, name in enumerate(names)})


@needs_package
def test_only_the_layers_linears_are_replaced(full):
    model = copy.deepcopy(full)
    names = quantize_linears(model, compute_dtype=torch.float32)
    assert len(names) == 14
    assert all(".layers." in name for name in names)
    assert type(model.lm_head) is torch.nn.Linear
    assert set(adapted_linears(model)) == set(adapted_linears(full))


@needs_package
@torch.no_grad()
def test_outputs_are_those_of_the_rounded_weights_in_every_mode(full, model):
    from bitsandbytes.functional import dequantize_4bit

    rounded = copy.deepcopy(full)
    linears = adapted_linears(full)
    for name, layer in adapted_linears(model).items():
        if ".layers." in name:
            weight = dequantize_4bit(layer.weight, layer.weight.quant_state)
            # NF4's error on normally distributed weights is 9%.
            exact = linears[name].weight
            assert (weight - exact).norm() / exact.norm() < 0.1
            rounded.get_submodule(name).weight.copy_(weight)
    wanted = rounded(IDS).logits
    for training in (True, False, True):
        model.train(training)
        torch.testing.assert_close(model(IDS).logits, wanted, rtol=1e-4, atol=1e-5)


@needs_package
def test_weights_take_less_than_a_sixth(full, model):
    def linears(of):
        total = 0
        for name, module in adapted_linears(of).items():
            if ".layers." in name:
                total += module.weight.numel() * module.weight.element_size()
                state = getattr(module.weight, "quant_state", None)
                if state:
                    # Scales in 8 bits, and their own scales; the code tables have a fixed size.
                    total += state.absmax.numel() * state.absmax.element_size()
                    total += 4 * state.state2.absmax.numel()
        return total

    # fp32 to 4.13 bits is a factor of 7.8; from bf16 it is half of that.
    assert linears(model) < linears(full) / 7.5


@needs_package
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_adapters_on_top_train(model, dtype):
    ranks = ranks_of(model)
    before = model(IDS).logits.detach()
    inject(model, ranks, r_ref=4, alpha_ref=8.0)
    assert all(type(layer).__name__ == "Linear4bit" for layer in lora_layers(model).values())
    assert live_rank_map(model) == ranks
    torch.testing.assert_close(model(IDS).logits, before)
    parameters = lora_parameters(model)
    assert {p.dtype for p in parameters.values()} == {torch.float32}
    start = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-2)
    model.train()
    losses = []
    for _ in range(3):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is not None):
            loss = model(IDS, labels=IDS).loss
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    assert all(not torch.equal(p, start[name]) for name, p in parameters.items())


@needs_package
def test_budget_and_adapter_folder_are_those_of_the_full_base(full, model, tmp_path):
    ranks = ranks_of(full)
    budget = Budget.of(full, list(ranks), 6)
    assert Budget.of(model, list(ranks), 6) == budget
    inject(model, ranks, r_ref=6, alpha_ref=12.0)
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.normal_(std=0.1)
    assert budget.check_live(model) == budget.cost_of(ranks)
    save_adapter(
        model,
        tmp_path / "adapter",
        rank_map=ranks,
        budget=budget,
        alpha_ref=12.0,
        base=BaseIdentity("tiny", "a" * 64),
    )
    exact = copy.deepcopy(full)
    load_adapter(exact, tmp_path / "adapter")
    wanted = exact(IDS).logits
    without = full(IDS).logits
    # Close next to what the adapter does.
    assert (model(IDS).logits - wanted).norm() < 0.3 * (wanted - without).norm()


@needs_package
def test_memory_of_a_mobilevlm_in_four_bits_can_be_estimated(tiny_base):
    model = load_model(tiny_base).requires_grad_(False)
    quantize_linears(model, compute_dtype=torch.float32)
    model.projector.requires_grad_(True)
    names = adapted_modules(model)
    inject(model, RankMap(dict.fromkeys(names, 4)), r_ref=4, alpha_ref=8.0)
    ids = torch.randint(0, 300, (4, 32))
    arguments = {"input_ids": ids, "labels": ids, "use_cache": False}
    result = estimate(
        model,
        [p for p in model.parameters() if p.requires_grad],
        lambda: arguments,
        autocast_dtype=None,
        device=torch.device("cpu"),
    )
    assert result.activations > 0
    assert not any(p.grad is not None for p in model.parameters())
    # And the real step still runs after the fake one.
    model(**arguments).loss.backward()


@needs_package
def test_what_a_cpu_would_expand_wrongly_stays_whole(tiny_base):
    model = load_model(tiny_base).requires_grad_(False)
    names = quantize_linears(model, compute_dtype=torch.float32)
    # 160 inputs are two and a half blocks.
    assert {n.rsplit(".", 1)[-1] for n in set(adapted_modules(model)) - set(names)} == {"down_proj"}
    assert len(names) == 12


@needs_package
def test_trained_linears_and_adapters_are_refused(full):
    model = copy.deepcopy(full)
    model.model.layers[0].mlp.up_proj.requires_grad_(True)
    with pytest.raises(ConfigError, match="up_proj"):
        quantize_linears(model, compute_dtype=torch.float32)
    adapted = copy.deepcopy(full)
    inject(adapted, ranks_of(full), r_ref=4, alpha_ref=8.0)
    with pytest.raises(ConfigError, match="adapters"):
        quantize_linears(adapted, compute_dtype=torch.float32)


def test_without_the_package_the_install_line_is_named(full, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(HydraError, match=r'pip install "hydra-mobile\[bitsandbytes\]"'):
        quantize_linears(copy.deepcopy(full), compute_dtype=torch.float32)
