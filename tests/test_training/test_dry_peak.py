import pytest
import torch

import hydra_mobile.training.memory.dry_peak as dry_peak_module
from hydra_mobile.adapters.lora import inject
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.models.loading import load_model
from hydra_mobile.training.adapted_modules import adapted_modules
from hydra_mobile.training.memory.dry_peak import dry_peak

CPU = torch.device("cpu")


@pytest.fixture
def model(tiny_base):
    model = load_model(tiny_base)
    model.requires_grad_(False)
    ranks = RankMap(dict.fromkeys(adapted_modules(model), 4))
    inject(model, ranks, r_ref=4, alpha_ref=8.0, dropout=0.5)
    return model


def trained(model):
    return [p for p in model.parameters() if p.requires_grad]


def inputs():
    ids = torch.randint(0, 300, (2, 24), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "labels": ids, "use_cache": False}


def run(model, **more):
    return dry_peak(model, trained(model), inputs, autocast_dtype=None, device=CPU, **more)


def test_it_is_the_peak_so_far_and_what_the_optimizer_will_add(model, monkeypatch):
    monkeypatch.setattr(dry_peak_module, "peak_memory_bytes", lambda device: 1000)
    assert run(model) == 1000 + 8 * sum(p.numel() for p in trained(model))


def test_everything_is_as_before(model):
    model.train(False)
    state = torch.get_rng_state()
    before = {name: p.clone() for name, p in model.named_parameters()}
    run(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize(("accumulation", "beside"), [(1, False), (2, True)])
def test_gradients_lie_beside_the_next_pass_only_when_they_accumulate(model, accumulation, beside):
    seen = []
    parameter = trained(model)[0]

    def look(module, arguments):
        seen.append(parameter.grad is not None)

    handle = model.language_model.model.register_forward_pre_hook(look)
    run(model, accumulation=accumulation)
    handle.remove()
    assert seen == [False, beside]
