import pytest
import torch
from torch import nn

from hydra_mobile.adapters.importance import BackwardImportance, learned_update, measure
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.lora_layers import lora_tensors
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ConfigError


def loss_fn(model, ids):
    return model.language_model(input_ids=ids, labels=ids).loss


def autograd_norms(model, names, batches):
    mean = dict.fromkeys(names, 0.0)
    for ids in batches:
        model.zero_grad()
        loss_fn(model, ids).backward()
        for name in names:
            mean[name] += model.get_submodule(name).weight.grad.norm().item() / len(batches)
    model.zero_grad()
    return mean


@pytest.mark.parametrize("frozen", [True, False])
def test_equals_the_weight_gradient_of_autograd(model, names, batches, frozen):
    mean = autograd_norms(model, names, batches)
    model.requires_grad_(not frozen)
    measured = measure(model, names, batches, loss_fn)
    assert measured.batches == 3
    assert measured.mean_of_norms == pytest.approx(mean, rel=1e-5)


def test_nothing_is_left_behind(model, names, batches):
    model.train()
    model.projector.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    measure(model, names, batches, loss_fn)
    assert before == {name: p.requires_grad for name, p in model.named_parameters()}
    assert all(p.grad is None for p in model.parameters())
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_module_called_twice_has_the_norm_of_its_summed_gradient():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4, bias=False))
    x = torch.randn(3, 4)

    def twice(model, x):
        return model(model(x).tanh()).square().sum()

    twice(model, x).backward()
    expected = model[0].weight.grad.norm().item()
    model.requires_grad_(False)
    assert measure(model, ["0"], [x], twice).mean_of_norms["0"] == pytest.approx(expected)


def test_it_works_under_injected_lora(model, names, batches):
    plain = measure(model, names, batches, loss_fn).mean_of_norms
    inject(model, RankMap(dict.fromkeys(names, 4)), r_ref=8, alpha_ref=16)
    assert measure(model, names, batches, loss_fn).mean_of_norms == pytest.approx(plain, rel=1e-5)


def test_it_works_with_gradient_checkpointing(model, names, batches):
    plain = measure(model, names, batches, loss_fn).mean_of_norms
    model.language_model.activation_checkpointing_enable({"use_reentrant": False})
    # measure() asks for eval mode, which turns checkpointing off; force it, to be sure.

    def checkpointed(model, ids):
        model.language_model.train()
        return loss_fn(model, ids)

    measured = measure(model, names, batches, checkpointed).mean_of_norms
    assert measured == pytest.approx(plain, rel=1e-5)


def test_refusals(model, names, batches):
    with pytest.raises(ConfigError, match="calibration"):
        measure(model, names, [], loss_fn)
    with pytest.raises(ConfigError, match=r"gradient.*`projector`"):
        measure(model, ["projector"], batches, loss_fn)
    with pytest.raises(ConfigError, match="Did you mean"):
        measure(model, ["projectr"], batches, loss_fn)
    with pytest.raises(ConfigError, match=r"batch 0.*nan"):
        measure(model, names, batches, lambda m, b: loss_fn(m, b) * float("nan"))
    huge = measure(model, names, batches, loss_fn).mean_of_norms
    assert all(value > 0 for value in huge.values())
    with pytest.raises(ConfigError, match=r"finite.*batch 0"):
        measure(model, names, batches, lambda m, b: (loss_fn(m, b) - loss_fn(m, b)).sqrt())


@pytest.fixture
def adapted(model, names):
    """A model with LoRA that has learned something."""
    model.requires_grad_(False)
    inject(model, RankMap(dict.fromkeys(names, 4)), r_ref=8, alpha_ref=16)
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.normal_(std=0.05, generator=torch.Generator().manual_seed(2))
    return model


def test_training_itself_gives_the_same_statistics_as_passes_of_its_own(adapted, names, batches):
    expected = measure(adapted, names, batches, loss_fn).mean_of_norms
    watching = BackwardImportance(adapted, names)
    watching.watch()
    gradients = []
    for ids in batches:
        # As an accumulating loop does it: the loss is divided before it goes backward.
        (loss_fn(adapted, ids) / 4).backward()
        watching.take("text", 4.0)
    watching.rest()
    gradients = {n: p.grad.clone() for n, p in lora_parameters(adapted).items()}
    assert watching.batches == 3
    assert watching.result().mean_of_norms == pytest.approx(expected, rel=1e-5)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in adapted.modules())
    # Looking on changed no gradient by a bit.
    adapted.zero_grad()
    for ids in batches:
        (loss_fn(adapted, ids) / 4).backward()
    assert all(torch.equal(p.grad, gradients[n]) for n, p in lora_parameters(adapted).items())


def test_watching_under_gradient_checkpointing(adapted, names, batches):
    expected = measure(adapted, names, batches, loss_fn).mean_of_norms
    adapted.language_model.activation_checkpointing_enable({"use_reentrant": False})
    adapted.train()
    watching = BackwardImportance(adapted, names)
    watching.watch()
    for ids in batches:
        loss_fn(adapted, ids).backward()
        watching.take("image")
    assert watching.result().mean_of_norms == pytest.approx(expected, rel=1e-5)


def test_a_rare_kind_of_batch_counts_as_much_as_a_common_one(adapted, names, batches):
    watching = BackwardImportance(adapted, names)
    watching.watch()
    for index, ids in enumerate(batches):
        loss_fn(adapted, ids).backward()
        watching.take("text" if index == 0 else "image")
    result = watching.result()
    assert set(result.profiles) == {"image", "text"}
    for name in names:
        both = [result.profiles[kind][name] for kind in ("image", "text")]
        assert result.mean_of_norms[name] == pytest.approx(sum(both) / 2)


def test_state_of_a_half_done_watch_goes_on(adapted, names, batches):
    whole, first = BackwardImportance(adapted, names), BackwardImportance(adapted, names)
    for ids in batches:
        for watching in (whole, first):
            if watching is first and watching.batches == 2:
                continue
            watching.watch()
            loss_fn(adapted, ids).backward()
            watching.take("text")
            watching.rest()
    second = BackwardImportance(adapted, names)
    second.load(first.state())
    second.watch()
    loss_fn(adapted, batches[2]).backward()
    second.take("text")
    assert second.result().mean_of_norms == whole.result().mean_of_norms


def test_learned_update_is_the_norm_of_the_delta(adapted, names):
    found = learned_update(adapted).mean_of_norms
    for name, (a, b) in lora_tensors(adapted).items():
        assert found[name] == pytest.approx(2.0 * float((b @ a).detach().norm()), rel=1e-4)
    with torch.no_grad():
        for _, b in lora_tensors(adapted).values():
            b.zero_()
    with pytest.raises(ConfigError, match="learned nothing"):
        learned_update(adapted)
