"""Training that sees the 4 bits of export: the forward pass is that of the rounded merged model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from trainer_models import LAYERS, batches, llama, texts, trainer

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.engine import Hydra
from hydra_mobile.adapters.int4_grid import on_grid, round_nearest
from hydra_mobile.adapters.integrations.trainer_callback import HydraCallback
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.lora_layers import ADAPTER, lora_layers
from hydra_mobile.adapters.qat import FakeQuant, bytes_for
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.resize import resize
from hydra_mobile.core.errors import ConfigError

GROUP = 8
NAMES = [f"model.layers.{i}.self_attn.{part}_proj" for i in range(3) for part in "qv"]
RANKS = RankMap({name: 1 + number for number, name in enumerate(NAMES)})


@pytest.fixture
def adapted() -> nn.Module:
    model = llama()
    model.requires_grad_(False)
    inject(model, RANKS, r_ref=4, alpha_ref=8.0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.normal_(std=0.2, generator=generator)
    return model


def merged(model: nn.Module) -> dict[str, Tensor]:
    """Weights of the linears as merging gives them."""
    found = {
        name: layer.get_base_layer().weight.detach()
        + layer.scaling[ADAPTER] * layer.lora_B[ADAPTER].weight @ layer.lora_A[ADAPTER].weight
        for name, layer in lora_layers(model).items()
    }
    return {name: weight.detach().clone() for name, weight in found.items()}


def exported(model: nn.Module) -> nn.Module:
    """A model without adapters that computes as the exported program will."""
    whole, plain = llama(), merged(model)
    for name, module in whole.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            weight = plain.get(name, module.weight.detach())
            module.weight.data = round_nearest(weight, GROUP).values()
    return whole


def logits(model: nn.Module, rows: int = 2) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=batches(texts(rows), rows)[0]["input_ids"]).logits
    return found


def test_the_forward_pass_is_that_of_the_exported_weights(adapted: nn.Module) -> None:
    plain = logits(adapted)
    expected = logits(exported(adapted))
    quant = FakeQuant(adapted, group=GROUP)
    assert torch.allclose(logits(adapted), expected, atol=1e-5)
    assert not torch.allclose(plain, expected, atol=1e-3)
    quant.remove()
    # Bit for bit what it was.
    assert torch.equal(logits(adapted), plain)


def test_gradients_pass_straight_through_the_rounding(adapted: nn.Module) -> None:
    layer = lora_layers(adapted)[NAMES[5]]
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    x = torch.randn(5, a.shape[1], generator=torch.Generator().manual_seed(0), requires_grad=True)
    seen = torch.randn(5, b.shape[0], generator=torch.Generator().manual_seed(1))
    # By hand: y = x (W' + stop(Q(W') - W'))^T with W' = W + s B A.
    whole = layer.get_base_layer().weight.detach() + layer.scaling[ADAPTER] * b @ a
    rounded = round_nearest(whole.detach(), GROUP).values()
    ((x @ (whole + (rounded - whole).detach()).T) * seen).sum().backward()
    by_hand = [tensor.grad.clone() for tensor in (x, a, b)]
    for tensor in (x, a, b):
        tensor.grad = None
    quant = FakeQuant(layer, group=GROUP)
    (layer(x) * seen).sum().backward()
    for tensor, expected in zip((x, a, b), by_hand, strict=True):
        assert torch.allclose(tensor.grad, expected, atol=1e-5)
    quant.remove()


@pytest.mark.parametrize("fused", [True, False])
def test_the_grid_follows_steps_and_changes_of_rank(adapted: nn.Module, fused: bool) -> None:
    optimizer = torch.optim.AdamW(lora_parameters(adapted).values(), lr=0.05, fused=fused)
    quant = FakeQuant(adapted, group=GROUP)
    quant.watch(optimizer)
    batch = batches(texts(4), 4)[0]

    def require_on_grid() -> None:
        # Codes are those of this moment, whatever the age of the scales.
        values, scales = quant.merged(), quant.scales()
        quant.renew()
        renewed, nearest = logits(adapted), quant.merged()
        quant.remove()
        assert torch.allclose(renewed, logits(exported(adapted)), atol=1e-5)
        for name, weight in merged(adapted).items():
            blocks, scale = weight.reshape(len(weight), -1, GROUP), scales[name].float()[..., None]
            expected = (on_grid(blocks, scale) * scale).flatten(1)
            assert torch.allclose(values[name], expected, atol=1e-6)
            assert torch.allclose(nearest[name], round_nearest(weight, GROUP).values(), atol=1e-6)

    for _ in range(3):
        adapted(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    require_on_grid()
    quant = FakeQuant(adapted, group=GROUP)
    quant.watch(optimizer)
    logits(adapted)
    budget = Budget.of(adapted, NAMES, 6)
    resize(adapted, RankMap(dict.fromkeys(NAMES, 3)), budget, [optimizer])
    require_on_grid()


def test_scales_of_a_checkpoint_give_the_same_weights(adapted: nn.Module) -> None:
    quant = FakeQuant(adapted, group=GROUP)
    quant.renew()
    with torch.no_grad():
        for parameter in lora_parameters(adapted).values():
            parameter.mul_(1.3)
    expected, scales = logits(adapted), quant.scales()
    quant.remove()
    again = FakeQuant(adapted, group=GROUP)
    again.load_scales(scales)
    assert torch.equal(logits(adapted), expected)
    searched = FakeQuant(llama(), group=GROUP)
    assert len(searched) == len(again)


def test_tied_weights_count_once_and_odd_widths_are_left_alone() -> None:
    model = llama()
    model.lm_head.weight = model.model.embed_tokens.weight
    assert len(FakeQuant(model, group=GROUP)) == 3 * 7 + 1
    # 40 inputs of down_proj are no multiple of 16.
    assert len(FakeQuant(llama(), group=16)) == 3 * 6 + 2


def test_bytes_are_those_of_a_second_copy_and_its_scales(adapted: nn.Module) -> None:
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    frozen = [m for m in adapted.modules() if isinstance(m, nn.Linear | nn.Embedding)]
    numbers = sum(m.weight.numel() for m in frozen if not m.weight.requires_grad)
    assert bytes_for(adapted, GROUP) == 4 * (numbers + numbers // GROUP)
    assert all(torch.equal(value, before[name]) for name, value in adapted.state_dict().items())


def test_what_merging_does_not_give_is_refused() -> None:
    model = llama()
    inject(model, RANKS, r_ref=4, alpha_ref=8.0, dropout=0.1)
    with pytest.raises(ConfigError, match="dropout"):
        FakeQuant(model, group=GROUP)


def test_the_callback_turns_it_on_for_the_last_steps(tmp_path: Path) -> None:
    model = llama()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    hydra = Hydra(model, r_ref=4, alpha_ref=8.0, targets=LAYERS, rank_step=1, r_min=1)
    seen: list[bool] = []
    weight = model.model.layers[0].mlp.down_proj.get_base_layer().weight
    plain = weight.detach().clone()
    model.register_forward_pre_hook(lambda *_: seen.append(not torch.equal(weight.data, plain)))
    callback = HydraCallback(hydra, qat=model, qat_share=0.5, qat_group=GROUP)
    trainer(model, tmp_path, [callback]).train()
    # The hook of the model comes before those of its layers: one step later.
    assert seen.count(True) == 5 or seen.count(True) == 6
    assert not any(seen[:6])
    for name, parameter in model.named_parameters():
        plain_name = name.replace(".base_layer.", ".")
        if plain_name in before:
            assert torch.equal(parameter, before[plain_name])
