import copy

import pytest
import torch

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.lora import inject, live_rank_map, lora_parameters
from hydra_mobile.adapters.lora_layers import lora_layers, lora_tensors
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.resize import resize, svd_transforms
from hydra_mobile.core.errors import BudgetError, ConfigError

SCALE = {"r_ref": 8, "alpha_ref": 16}


def adamw(model, rate=1e-2, **options):
    # No decay: it would move tensors whose gradient is zero.
    return torch.optim.AdamW(lora_parameters(model).values(), rate, weight_decay=0.0, **options)


def step(model, optimizer, ids):
    loss = model.language_model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


@pytest.fixture
def trained(model, names, ids):
    """Uniform LoRA of rank 8 after a few steps, with its optimizer."""
    inject(model, RankMap(dict.fromkeys(names, 8)), **SCALE)
    optimizer = adamw(model)
    for _ in range(5):
        step(model, optimizer, ids)
    return model, optimizer


def swapped(names, low=4, high=12):
    """A map in which equal kinds of two layers trade ranks: the same cost, exactly."""
    ranks = dict.fromkeys(names, 8)
    for name in names:
        if ".layers.0." in name:
            ranks[name] = low
            ranks[name.replace(".layers.0.", ".layers.1.")] = high
    return RankMap(ranks)


def test_growing_changes_no_output_and_both_new_halves_learn(model, names, ids):
    budget = Budget.of(model, names, 8)
    inject(model, RankMap(dict.fromkeys(names, 4)), **SCALE)
    optimizer = adamw(model)
    for _ in range(3):
        step(model, optimizer, ids)
    before = model(ids)
    resize(model, RankMap(dict.fromkeys(names, 8)), budget, [optimizer])
    assert (model(ids) - before).abs().max() <= 1e-6
    old = {name: (a[4:].clone(), b[:, 4:].clone()) for name, (a, b) in lora_tensors(model).items()}
    assert all(b.abs().max() == 0 and a.abs().max() > 0 for a, b in old.values())
    step(model, optimizer, ids)
    after_one = {name: (a[4:], b[:, 4:]) for name, (a, b) in lora_tensors(model).items()}
    for name in names:
        # grad A = s B^T (...) is zero while B is: A may wait, B may not.
        assert torch.equal(after_one[name][0], old[name][0])
        assert (after_one[name][1] != 0).any()
    step(model, optimizer, ids)
    for name, (a, _) in lora_tensors(model).items():
        assert not torch.equal(a[4:], old[name][0])


def test_rows_that_are_zero_on_both_sides_never_train(model, names, ids):
    # The deadlock that a zero A beside a zero B would be; the reason why new rows are random.
    budget = Budget.of(model, names, 8)
    inject(model, RankMap(dict.fromkeys(names, 4)), **SCALE)
    optimizer = adamw(model)
    resize(model, RankMap(dict.fromkeys(names, 8)), budget, [optimizer])
    with torch.no_grad():
        for a, _ in lora_tensors(model).values():
            a[4:] = 0
    for _ in range(5):
        step(model, optimizer, ids)
    for a, b in lora_tensors(model).values():
        assert a[4:].abs().max() == 0
        assert b[:, 4:].abs().max() == 0
        assert b[:, :4].abs().max() > 0


def test_index_shrink_is_the_removal_of_the_weakest(trained, names, ids):
    model, optimizer = trained
    budget = Budget.of(model, names, 8)
    explicit = copy.deepcopy(model)
    strength = {n: a.norm(dim=1) * b.norm(dim=0) for n, (a, b) in lora_tensors(model).items()}
    gone = {name: values.argsort()[:4] for name, values in strength.items()}
    with torch.no_grad():
        for name, (_, b) in lora_tensors(explicit).items():
            b[:, gone[name]] = 0
    moments = {n: optimizer.state[p]["exp_avg"].clone() for n, p in lora_parameters(model).items()}
    resize(model, RankMap(dict.fromkeys(names, 4)), budget, [optimizer])
    assert torch.allclose(model(ids), explicit(ids), atol=1e-6)
    for name in names:
        kept = [i for i in range(8) if i not in gone[name]]
        a, b = lora_tensors(model)[name]
        key = f"{name}.lora_A.weight"
        assert torch.equal(optimizer.state[a]["exp_avg"], moments[key][kept])
        key = f"{name}.lora_B.weight"
        assert torch.equal(optimizer.state[b]["exp_avg"], moments[key][:, kept])


def test_svd_shrink_has_the_error_of_eckart_and_young(trained, names):
    model, optimizer = trained
    budget = Budget.of(model, names, 8)
    before = {n: (b @ a).detach().double() for n, (a, b) in lora_tensors(model).items()}
    resize(model, RankMap(dict.fromkeys(names, 3)), budget, [optimizer], shrink="svd")
    assert set(live_rank_map(model).values()) == {3}
    for name, (a, b) in lora_tensors(model).items():
        best = torch.linalg.svdvals(before[name])[3:].norm()
        error = (before[name] - (b @ a).detach().double()).norm()
        assert float(error) == pytest.approx(float(best), rel=1e-4)


def test_svd_turns_gradients_with_the_tensors():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(6, 10, generator=generator), torch.randn(12, 6, generator=generator)
    target = torch.randn(12, 10, generator=generator).double()
    of_a, of_b = svd_transforms(a, b, 4)
    new_a = (of_a @ a.double()).requires_grad_()
    new_b = (b.double() @ of_b).requires_grad_()
    # A loss that is linear in B A has the same dL/dW before and after.
    (new_b @ new_a * target).sum().backward()
    assert torch.allclose(new_a.grad, of_b.T @ (b.double().T @ target))
    assert torch.allclose(new_b.grad, (target @ a.double().T) @ of_a.T)


def test_svd_of_an_untrained_adapter_leaves_rows_that_can_learn(model, names, ids):
    budget = Budget.of(model, names, 8)
    inject(model, RankMap(dict.fromkeys(names, 8)), **SCALE)
    optimizer = adamw(model)
    # B A is zero: there is nothing that an SVD could keep.
    resize(model, RankMap(dict.fromkeys(names, 4)), budget, [optimizer], shrink="svd")
    assert set(live_rank_map(model).values()) == {4}
    for _ in range(2):
        step(model, optimizer, ids)
    assert all(b.abs().max() > 0 for _, b in lora_tensors(model).values())


@pytest.mark.parametrize("shrink", ["index", "svd"])
def test_a_round_trip_keeps_the_scale_and_the_count(trained, names, ids, shrink):
    model, optimizer = trained
    budget = Budget.of(model, names, 8)
    scales = {name: layer.scaling["default"] for name, layer in lora_layers(model).items()}
    assert set(scales.values()) == {2.0}
    resize(model, RankMap(dict.fromkeys(names, 4)), budget, [optimizer], shrink=shrink)
    small = model(ids)
    resize(model, RankMap(dict.fromkeys(names, 8)), budget, [optimizer], shrink=shrink, event=1)
    assert torch.allclose(model(ids), small, atol=1e-6)
    assert {n: layer.scaling["default"] for n, layer in lora_layers(model).items()} == scales
    assert all(layer.r["default"] == 8 for layer in lora_layers(model).values())
    assert budget.check_live(model) == budget.reference


def test_optimizer_holds_exactly_the_live_tensors(trained, names, ids):
    model, optimizer = trained
    budget = Budget.of(model, names, 8)
    groups = len(optimizer.param_groups)
    target = swapped(names)
    change = resize(model, target, budget, [optimizer])
    assert live_rank_map(model) == target
    assert change.lowest_parameters < budget.reference
    live = [id(p) for p in lora_parameters(model).values()]
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(live) == sorted(held)
    assert len(optimizer.param_groups) == groups
    assert {id(p) for p in optimizer.state} == set(live)
    for moment in ("exp_avg", "exp_avg_sq"):
        assert sum(s[moment].numel() for s in optimizer.state.values()) == budget.cost_of(target)
    before = {name: p.detach().clone() for name, p in lora_parameters(model).items()}
    step(model, optimizer, ids)
    changed = {n for n, p in lora_parameters(model).items() if not torch.equal(p, before[n])}
    assert changed == set(before)


def test_state_of_kept_rows_is_the_same_before_and_after(trained, names):
    model, optimizer = trained
    budget = Budget.of(model, names, 8)
    target = swapped(names)
    grown = [name for name in names if target[name] > 8]
    old = {
        n: {k: v.clone() for k, v in optimizer.state[p].items()}
        for n, p in lora_parameters(model).items()
    }
    resize(model, target, budget, [optimizer])
    for name in grown:
        for key, rows in (("lora_A", 0), ("lora_B", 1)):
            full = f"{name}.{key}.weight"
            state = optimizer.state[lora_parameters(model)[full]]
            for moment in ("exp_avg", "exp_avg_sq"):
                assert torch.equal(state[moment].narrow(rows, 0, 8), old[full][moment])
            mean = old[full]["exp_avg_sq"].mean(rows, keepdim=True)
            fresh = state["exp_avg_sq"].narrow(rows, 8, 4)
            assert torch.allclose(fresh, mean.expand_as(fresh))
            assert torch.equal(state["step"], old[full]["step"])


def first_updates(model, names, ids, naive):
    """Return the first updates of new columns of B over the learning rate, late in a training."""
    budget = Budget.of(model, names, 8)
    inject(model, RankMap(dict.fromkeys(names, 4)), **SCALE)
    rate = 1e-3
    # foreach=False, fused=False: plain Adam, nothing that could hide a kick.
    optimizer = adamw(model, rate, foreach=False)
    generator = torch.Generator().manual_seed(3)
    for _ in range(60):
        step(model, optimizer, torch.randint(0, 128, ids.shape, generator=generator))
    resize(model, RankMap(dict.fromkeys(names, 8)), budget, [optimizer])
    if naive:
        for _, b in lora_tensors(model).values():
            optimizer.state[b]["exp_avg_sq"][:, 4:] = 0
    # Late in a training bias correction is 1 and v is the mean square itself; after 60 steps v is
    # 1 - 0.999^60 of it.
    for state in optimizer.state.values():
        state["exp_avg_sq"] /= 1 - 0.999**60
        state["step"].fill_(100_000)
    step(model, optimizer, torch.randint(0, 128, ids.shape, generator=generator))
    return torch.cat([b[:, 4:].abs().reshape(-1) / rate for _, b in lora_tensors(model).values()])


def test_new_rows_take_no_oversized_first_step(model, names, ids):
    updates = first_updates(model, names, ids, naive=False).detach()
    assert updates.max() <= 1.5
    assert updates.median() > 0.01, "and they do move"


def test_the_naive_kick_is_caught(model, names, ids):
    # Negative control: (1 - b1) / sqrt(1 - b2) = 3.16 times the learning rate.
    updates = first_updates(model, names, ids, naive=True).detach()
    assert updates.median() == pytest.approx(0.1 / 0.001**0.5, rel=1e-2)
    assert updates.max() > 1.5


def test_a_map_too_expensive_changes_nothing(trained, names):
    model, optimizer = trained
    budget = Budget.of(model, names, 8)
    before = live_rank_map(model)
    with pytest.raises(BudgetError):
        resize(model, RankMap(dict.fromkeys(names, 9)), budget, [optimizer])
    with pytest.raises(ConfigError, match="rank"):
        resize(model, RankMap(dict.fromkeys(names[1:], 4)), budget, [optimizer])
    assert live_rank_map(model) == before


def test_the_budget_holds_between_the_halves_of_a_swap(trained, names, monkeypatch):
    model, optimizer = trained
    budget = Budget.of(model, names, 8)
    seen = []
    real = torch.nn.Parameter

    def counted(*args, **kwargs):
        seen.append(sum(p.numel() for p in lora_parameters(model).values()))
        return real(*args, **kwargs)

    monkeypatch.setattr("hydra_mobile.adapters.resize.nn.Parameter", counted)
    resize(model, swapped(names), budget, [optimizer])
    assert len(seen) > 10
    assert max(seen) <= budget.reference
    # All that shrinks comes first: the count falls, then rises.
    lowest = seen.index(min(seen))
    assert seen[:lowest] == sorted(seen[:lowest], reverse=True)
    assert seen[lowest:] == sorted(seen[lowest:])


def test_the_global_random_stream_is_left_alone_and_rows_repeat(trained, names):
    model, _ = trained
    other = copy.deepcopy(model)
    third = copy.deepcopy(model)
    budget = Budget.of(model, names, 8)
    state = torch.get_rng_state()
    for net, event in ((model, 5), (other, 5), (third, 6)):
        resize(net, swapped(names), budget, seed=1, event=event)
    assert torch.equal(state, torch.get_rng_state())
    first, second, late = (lora_parameters(net) for net in (model, other, third))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], late[name]) for name in first)


def test_momentum_of_sgd_moves_along(model, names, ids):
    budget = Budget.of(model, names, 8)
    inject(model, RankMap(dict.fromkeys(names, 8)), **SCALE)
    optimizer = torch.optim.SGD(lora_parameters(model).values(), lr=1e-2, momentum=0.9)
    for _ in range(3):
        step(model, optimizer, ids)
    resize(model, swapped(names), budget, [optimizer])
    for parameter in lora_parameters(model).values():
        assert optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape
    step(model, optimizer, ids)


def test_an_optimizer_whose_state_cannot_be_carried_is_refused(model, names, ids):
    budget = Budget.of(model, names, 8)
    inject(model, RankMap(dict.fromkeys(names, 8)), **SCALE)
    optimizer = torch.optim.Rprop(lora_parameters(model).values())
    step(model, optimizer, ids)
    with pytest.raises(ConfigError, match=r"Rprop.*`prev`"):
        resize(model, swapped(names), budget, [optimizer])
