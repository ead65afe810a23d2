import copy

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.lora_layers import adapted_linears
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.resize import resize
from hydra_mobile.core.errors import ConfigError, HydraError
from hydra_mobile.training import compiling
from hydra_mobile.training.compiling import compile_layers


@pytest.fixture
def dynamo():
    """Two options are process-wide; other tests must not see them, nor compiled code."""
    config = torch._dynamo.config
    names = ("force_parameter_static_shapes", "force_nn_module_property_static_shapes")
    before = {name: getattr(config, name) for name in names}
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    for name, value in before.items():
        setattr(config, name, value)


def llama(layers=2):
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
    )
    return LlamaForCausalLM(config).requires_grad_(False)


def ranks(names, event):
    return RankMap({n: 2 + (i * 7 + event * 3 + i // 5) % 6 for i, n in enumerate(names)})


def step(model):
    for parameter in model.parameters():
        parameter.grad = None
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(2, 9, 32, generator=generator).requires_grad_()
    labels = torch.randint(0, 64, (2, 9), generator=generator)
    loss = model(inputs_embeds=inputs, labels=labels, use_cache=False).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in lora_parameters(model).items()}


@pytest.mark.slow
def test_moving_ranks_compile_nothing_anew_and_change_no_gradient(dynamo):
    model = llama()
    names = [name for name in adapted_linears(model) if ".layers." in name]
    budget = Budget.of(model, names, 16)
    inject(model, ranks(names, 0), r_ref=16, alpha_ref=32.0)
    for parameter in lora_parameters(model).values():
        nn.init.normal_(parameter, std=0.1)
    model.train()
    eager = copy.deepcopy(model)
    graphs = []

    def backend(graph, examples):
        graphs.append(graph)
        return graph.forward

    assert compile_layers(model, backend) == 2
    for event in range(4):
        if event:
            for each in (model, eager):
                resize(each, ranks(names, event), budget, event=event)
        loss, gradients = step(model)
        wanted, expected = step(eager)
        torch.testing.assert_close(loss, wanted)
        torch.testing.assert_close(gradients, expected)
    # Two layers of different ranks and three changes: one graph.
    assert len(graphs) == 1


def test_a_cpu_without_a_compiler_is_named(monkeypatch):
    monkeypatch.setattr(compiling, "_compiler", lambda: None)
    with pytest.raises(HydraError, match=r"C\+\+ compiler"):
        compile_layers(llama(1))


def test_other_models_and_four_bit_bases_are_refused():
    with pytest.raises(ConfigError, match="0 lists"):
        compile_layers(nn.Sequential(nn.Linear(2, 2)), "eager")
    model = llama(1)
    model.is_loaded_in_4bit = True
    with pytest.raises(ConfigError, match="four-bit"):
        compile_layers(model, "eager")
