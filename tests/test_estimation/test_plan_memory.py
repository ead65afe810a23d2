"""The simulated model against real ones, and what is added by arithmetic."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from hydra_mobile.adapters.lora import inject
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.config import load_config
from hydra_mobile.estimation.architecture import base_config
from hydra_mobile.estimation.asked import Asked
from hydra_mobile.estimation.memory import Rows, Setting, StageMemory, StageSimulation
from hydra_mobile.estimation.model import frozen_sizes, planned_model, set_checkpointing
from hydra_mobile.estimation.plan import make_plan
from hydra_mobile.models.loading import load_model
from hydra_mobile.training.adapted_modules import adapted_modules
from hydra_mobile.training.memory.estimate import estimate

ROWS = Rows(tokens=96, image_tokens=4, image_size=32)
PLAIN = Setting(4, 1, False)


def settings(*more):
    values = ["base=tiny", "ranks.r_ref=8", "ranks.r_min=2", "ranks.alpha_ref=16", *more]
    return load_config(None, values)


def simulation(train, stage="stage2", rows=ROWS):
    return StageSimulation(planned_model(base_config("tiny"), train, stage), train, rows)


@pytest.fixture(scope="module")
def fp32(tiny_base):
    made = simulation(settings("runtime.precision=fp32"))
    made.simulate(4, False)
    return made


def real_model(tiny_base, policy, stage, bf16):
    model = load_model(tiny_base)
    model.requires_grad_(False)
    if bf16:
        model.vision_tower.to(torch.bfloat16)
        if policy != "full":
            model.language_model.to(torch.bfloat16)
    model.projector.requires_grad_(True)
    if stage == "stage2" and policy == "full":
        model.language_model.requires_grad_(True)
    elif stage == "stage2":
        inject(model, RankMap(dict.fromkeys(adapted_modules(model), 8)), r_ref=8, alpha_ref=16.0)
    return model


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("policy", "stage"), [("hydra", "stage1"), ("uniform", "stage2"), ("full", "stage2")]
)
@pytest.mark.parametrize(("checkpointing", "masked"), [(False, True), (True, True), (True, False)])
def test_a_model_without_memory_needs_what_a_real_one_needs(
    tiny_base, precision, policy, stage, checkpointing, masked
):
    rows = replace(ROWS, masked=masked)
    train = settings(f"runtime.precision={precision}", f"ranks.policy={policy}")
    simulated = simulation(train, stage, rows)
    simulated.simulate(4, checkpointing)
    planned = simulated.memory(replace(PLAIN, gradient_checkpointing=checkpointing), 1)
    model = real_model(tiny_base, policy, stage, precision == "bf16")
    if checkpointing:
        set_checkpointing(model, True)
    # A batch with memory of its own, where the simulation only has views.
    inputs = {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in rows.inputs(4, model.config.image_token_id).items()
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    real = estimate(
        model,
        trained,
        lambda: inputs,
        autocast_dtype=torch.bfloat16 if precision == "bf16" else None,
        device=torch.device("cpu"),
    )
    batch = sum(v.numel() * v.element_size() for v in inputs.values() if torch.is_tensor(v))
    assert batch == 4 * rows.input_bytes
    assert (planned.gradients, planned.activations) == (real.gradients, real.activations)
    assert planned.transient == real.transient + batch
    assert (planned.weights, planned.moments) == (real.weights, real.moments)


def test_between_two_simulated_batches_the_estimate_is_never_too_low(fp32):
    sparse = StageSimulation(fp32._model, settings("runtime.precision=fp32"), ROWS)
    sparse.simulate(1, False)
    sparse.simulate(16, False)
    exact, between = (made.memory(PLAIN, 1).total for made in (fp32, sparse))
    assert exact <= between < 1.1 * exact


def test_a_batch_outside_of_what_was_simulated_is_refused(fp32):
    with pytest.raises(KeyError, match="32"):
        fp32.memory(Setting(32, 1, False), 1)


def test_several_processes_hold_the_gradients_a_second_time(fp32):
    one, eight = fp32.memory(PLAIN, 1), fp32.memory(PLAIN, 8)
    trained = sum(p.numel() * 4 for p in fp32._model.parameters() if p.requires_grad)
    assert (one.averaging, eight.averaging) == (0, trained)
    assert eight.total == one.total + trained


def test_accumulation_keeps_gradients_beside_the_next_pass(fp32):
    once, twice = fp32.memory(PLAIN, 1), fp32.memory(replace(PLAIN, accumulation=2), 1)
    trained = sum(p.numel() * 4 for p in fp32._model.parameters() if p.requires_grad)
    assert twice.gradients == trained > once.gradients


def test_the_peak_is_never_below_what_the_update_needs(tiny_base):
    """Few tokens, all weights trained: the pass itself makes next to nothing."""
    train = settings("ranks.policy=full", "runtime.precision=fp32")
    small = StageSimulation(
        planned_model(base_config("tiny"), train, "stage2"), train, Rows(8, 4, 32)
    )
    small.simulate(1, False)
    memory = small.memory(Setting(1, 1, False), 1)
    trained = sum(p.numel() * 4 for p in small._model.parameters() if p.requires_grad)
    assert memory.moments == 2 * trained
    assert memory.gradients + memory.activations + memory.transient >= trained


def test_sharding_shares_the_layers_and_gathers_two(fp32):
    layer = sum(
        p.numel() * 4
        for p in fp32._model.language_model.model.layers[0].parameters()
        if not p.requires_grad
    )
    whole = fp32.memory(PLAIN, 4)
    shared = fp32.memory(replace(PLAIN, distributed="fsdp"), 4)
    assert whole.weights - shared.weights == 2 * layer * 3 // 4
    assert shared.transient - whole.transient == 2 * layer
    assert fp32.memory(replace(PLAIN, distributed="fsdp"), 1) == fp32.memory(PLAIN, 1)


def test_four_bit_weights_have_the_size_that_bitsandbytes_gives_them():
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="needs the extra [bitsandbytes]")
    from hydra_mobile.estimation.memory import _FOUR_BIT
    from hydra_mobile.models.four_bit import _four_bit

    linear = nn.Linear(1024, 1024, bias=False).requires_grad_(False)
    weight = _four_bit(bitsandbytes, linear, torch.float32, torch.device("cpu")).weight
    state = weight.quant_state
    real = (
        weight.numel() * weight.element_size()
        + state.absmax.numel()
        + 4 * state.state2.absmax.numel()
    )
    assert real == pytest.approx(1024 * 1024 * _FOUR_BIT, rel=1e-3)


def test_four_bit_changes_only_the_frozen_linears(fp32):
    whole = fp32.memory(PLAIN, 1)
    packed = fp32.memory(replace(PLAIN, base_precision="4bit"), 1)
    frozen = frozen_sizes(fp32._model)
    # q, k, v, o, gate, up, down of two layers with 64 / 32 / 160 rows or columns.
    assert frozen.linear_parameters == 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 160)
    assert frozen.linears == 4 * frozen.linear_parameters
    saved = whole.weights - packed.weights
    assert saved == pytest.approx(frozen.linears * (1 - 4.127 / 32), rel=1e-3)
    assert packed.transient == whole.transient + 4 * 64 * 160


def test_weights_that_are_rounded_are_held_twice(tiny_base):
    """As `make_plan` reckons: the simulated model has the shapes of the one that trains."""
    asked = Asked(gpus=1, gpu_memory=80.0, tokens=(64, 96), samples=(100, 100))
    plain, rounded = (
        make_plan(settings("data.stage1=", *more), asked).stages[-1].memory
        for more in ((), ("stage2.qat=int4", "ranks.dropout=0"))
    )
    assert rounded.total - plain.total == rounded.copies
    text = base_config("tiny").text_config
    # Table or head, and the linears of the layers, in bf16, and a scale for 32 of them.
    assert rounded.copies > 2 * (1 + 2 / 32) * text.vocab_size * text.hidden_size
    assert plain.copies == 0


def test_the_total_is_the_sum_of_the_parts():
    memory = StageMemory(1, 2, 4, 8, 16, 32, 64)
    assert memory.total == 127 == sum(asdict(memory).values())
