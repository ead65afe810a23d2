import math

import pytest
import torch

from hydra_mobile.adapters.gradient_start import align, leading_directions
from hydra_mobile.adapters.importance import measure
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.lora_layers import lora_tensors
from hydra_mobile.adapters.rank_map import RankMap


def loss_fn(model, ids):
    return model.language_model(input_ids=ids, labels=ids).loss


@pytest.mark.parametrize("shape", [(40, 24), (600, 400), (120, 700)])
def test_directions_catch_what_the_svd_does(shape):
    torch.manual_seed(1)
    gradient = torch.randn(shape) * torch.logspace(0, -2, shape[1])
    rows = leading_directions(gradient, 12)
    torch.testing.assert_close(rows @ rows.T, torch.eye(12), atol=1e-5, rtol=0)
    best = torch.linalg.svdvals(gradient)[:12].square().sum()
    caught = (gradient @ rows.T).square().sum()
    assert 0.98 * best < caught <= 1.00001 * best


def test_the_mean_gradient_is_that_of_autograd(model, names, batches):
    wanted = {}
    for ids in batches:
        model.zero_grad()
        loss_fn(model, ids).backward()
        for name in names:
            gradient = model.get_submodule(name).weight.grad / len(batches)
            wanted[name] = wanted.get(name, 0) + gradient
    found = {}
    measure(model, names, batches, loss_fn, gradients=found)
    assert found.keys() == wanted.keys()
    for name in names:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-7, rtol=1e-4)


def test_an_aligned_start_keeps_the_function_and_steepens_the_first_step(model, names, batches):
    gradients = {}
    measure(model, names, batches, loss_fn, gradients=gradients)
    with torch.no_grad():
        before = model(batches[0])
    inject(model, RankMap(dict.fromkeys(names, 4)), r_ref=4, alpha_ref=8.0)

    def first_gradients():
        model.zero_grad()
        sum(loss_fn(model, ids) for ids in batches).backward()
        return {n: float(b.grad.norm()) for n, (_, b) in lora_tensors(model).items()}

    random = first_gradients()
    caught = align(model, gradients, seed=0)
    aligned = first_gradients()
    with torch.no_grad():
        torch.testing.assert_close(model(batches[0]), before)
    # Orthogonal rows of one length: nothing has a larger first gradient of B.
    assert all(aligned[name] > random[name] for name in names)
    assert sum(aligned.values()) > 1.5 * sum(random.values())
    assert 0.3 < caught < 1
    for a, b in lora_tensors(model).values():
        torch.testing.assert_close(a.norm(dim=1), torch.full((4,), 1 / math.sqrt(3.0)))
        assert not b.any()


def test_rows_without_a_direction_stay_random(model, names):
    inject(model, RankMap(dict.fromkeys(names, 4)), r_ref=4, alpha_ref=8.0, seed=3)
    before = {n: a.detach().clone() for n, (a, _) in lora_tensors(model).items()}
    zeros = {n: torch.zeros_like(model.get_submodule(n).base_layer.weight) for n in names}
    assert align(model, zeros, seed=3) == 0
    assert all(torch.equal(a, before[n]) for n, (a, _) in lora_tensors(model).items())
    assert len(lora_parameters(model)) == 2 * len(names)
