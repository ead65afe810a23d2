import time

import pytest
import torch
from torch import nn

from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.models.loading import load_model
from hydra_mobile.training.adapted_modules import adapted_modules
from hydra_mobile.training.memory.estimate import MemoryEstimate, estimate

CPU = torch.device("cpu")


@pytest.fixture
def model(tiny_base):
    model = load_model(tiny_base)
    model.requires_grad_(False)
    model.projector.requires_grad_(True)
    inject(model, RankMap(dict.fromkeys(adapted_modules(model), 4)), r_ref=4, alpha_ref=8.0)
    return model


def inputs(model, rows=4, length=64):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 300, (rows, length), generator=generator)
    ids[:, : model.config.num_image_tokens] = model.config.image_token_id
    labels = ids.clone()
    labels[:, : length // 2] = -100
    tower = model.vision_tower
    return {
        "input_ids": ids,
        "labels": labels,
        "position_ids": torch.arange(length).expand(rows, -1),
        "attention_mask": torch.ones(length, length).bool().tril().expand(rows, 1, -1, -1),
        "vision_features": torch.zeros(rows, tower.num_patches, tower.feature_size),
        "use_cache": False,
    }


def estimated(model, dtype=None, accumulation=1, **shape) -> MemoryEstimate:
    return estimate(
        model,
        [p for p in model.parameters() if p.requires_grad],
        lambda: inputs(model, **shape),
        autocast_dtype=dtype,
        device=CPU,
        accumulation=accumulation,
    )


def kept_by_autograd(model, dtype) -> int:
    """Bytes of the storages that a real forward pass saves, weights apart."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    # The storages themselves are held, so that no address comes up twice.
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    arguments = inputs(model)
    weights |= {v.data_ptr() for v in arguments.values() if isinstance(v, torch.Tensor)}
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is not None),
    ):
        model(**arguments)
    return sum(s.nbytes() for address, s in saved.items() if address not in weights)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_activations_are_those_that_a_real_forward_saves(model, dtype):
    if dtype:
        model.language_model.to(dtype)
        for parameter in lora_parameters(model).values():
            parameter.data = parameter.data.float()
    assert estimated(model, dtype).activations == pytest.approx(
        kept_by_autograd(model, dtype), rel=0.05
    )


def test_checkpointing_keeps_less_and_recomputes_one_layer(model):
    whole = estimated(model)
    model.language_model.gradient_checkpointing_enable({"use_reentrant": False})
    less = estimated(model)
    assert less.activations < 0.4 * whole.activations
    assert less.transient > whole.transient
    assert less.total < whole.total


def test_the_step_grows_with_rows(model):
    one, four = estimated(model, rows=1), estimated(model, rows=4)
    assert four.activations == pytest.approx(4 * one.activations, rel=0.1)
    assert four.weights == one.weights
    assert four.moments == one.moments > 0


def test_gradients_lie_beside_the_forward_of_later_micro_batches(model):
    trained = sum(p.numel() * 4 for p in model.parameters() if p.requires_grad)
    assert estimated(model).gradients < trained
    assert estimated(model, accumulation=2).gradients == trained


def test_model_and_random_state_stay_as_they_were(model):
    model.vision_tower.train()
    modes = [module.training for module in model.modules()]
    weights = {name: p.clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    estimated(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())


def test_parts_make_the_total_and_are_named(model):
    result = estimated(model)
    lines = result.lines()
    assert len(lines) == 7
    assert "peak" in lines[-1]
    assert result.total == sum(
        (
            result.weights,
            result.gradients,
            result.moments,
            result.activations,
            result.transient,
            result.process,
        )
    )
    assert all(
        part >= 0
        for part in (result.gradients, result.activations, result.transient, result.process)
    )


def test_a_wide_model_costs_neither_time_nor_memory():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 2**20, bias=False)

        def forward(self, x, labels):
            out = self.linear(x).square().mean()
            return type("Output", (), {"loss": out})

    wide = Wide()
    began = time.monotonic()
    result = estimate(
        wide,
        wide.parameters(),
        lambda: {
            "x": torch.zeros(4096, 64),
            "labels": torch.zeros(1, 2, dtype=torch.long),
        },
        autocast_dtype=None,
        device=CPU,
    )
    # The output of the linear and its square are 16 GiB each.
    assert result.activations + result.transient > 16 * 2**30
    assert time.monotonic() - began < 5
