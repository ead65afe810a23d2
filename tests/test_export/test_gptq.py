"""Rounding to 4 bits, what it is calibrated on, what parts cost, and the budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hydra_export.quantization import sensitivity
from hydra_export.quantization.calibration import Calibration, from_data, self_sampled
from hydra_export.quantization.gptq import (
    linear_units,
    output_error,
    round_calibrated,
    round_decoder,
    weights_replaced,
)
from hydra_export.quantization.sensitivity import PartCost, bytes_at, keep_at_8_bits
from hydra_export.training_data import TrainingData
from hydra_mobile.adapters.int4_grid import round_nearest
from hydra_mobile.core.errors import DataError
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.processor import MobileVLMProcessor


@pytest.fixture(scope="module")
def model(tiny_merged: Path) -> Any:
    return load_model(tiny_merged).requires_grad_(False)


@pytest.fixture(scope="module")
def sampled(model: Any) -> Calibration:
    return self_sampled(model, 32)


def correlated(rows: int, features: int, seed: int = 0) -> torch.Tensor:
    """Inputs that vary together, as activations do."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(8, features, generator=generator)
    return torch.randn(rows, 8, generator=generator) @ basis


def test_codes_and_scales_are_on_the_grid_of_both_runtimes():
    weight = torch.randn(24, 64, generator=torch.Generator().manual_seed(0))
    x = correlated(300, 64)
    for rounded in (round_nearest(weight, 32), round_calibrated(weight, x.T @ x, 32)):
        assert rounded.codes.dtype == torch.int8
        assert rounded.codes.shape == (24, 64)
        assert rounded.scales.shape == (24, 2)
        assert -8 <= int(rounded.codes.min()) < 0 < int(rounded.codes.max()) <= 7
        assert torch.equal(rounded.scales, rounded.scales.bfloat16().float())
        assert torch.equal(rounded.scales, rounded.scales.half().float())
        expected = rounded.codes.float().reshape(24, 2, 32) * rounded.scales[..., None]
        assert torch.equal(rounded.values(), expected.reshape(24, 64))


def test_a_weight_that_the_grid_holds_is_kept_exactly():
    codes = torch.randint(-8, 8, (16, 64), generator=torch.Generator().manual_seed(1)).float()
    codes[:, ::32] = -8  # the whole range is used
    weight = codes * 0.0625
    assert torch.equal(round_nearest(weight, 32).values(), weight)


def test_groups_of_zeros_and_tiny_weights_stay_finite():
    weight = torch.zeros(4, 64)
    weight[0, 0] = 1e-7
    assert torch.equal(round_nearest(weight, 32).values(), torch.zeros(4, 64))


def test_scales_of_least_error_beat_those_that_cover_the_largest():
    weight = torch.randn(256, 64, generator=torch.Generator().manual_seed(2))
    blocks = weight.reshape(256, 2, 32)
    scale = blocks.abs().amax(-1, keepdim=True) / 7
    covering = ((blocks / scale).round().clamp(-8, 7) * scale).reshape(256, 64)
    error = (round_nearest(weight, 32).values() - weight).square().mean()
    assert error < 0.9 * (covering - weight).square().mean()


@pytest.mark.parametrize("seed", range(4))
def test_calibrated_rounding_is_in_no_row_worse_than_the_nearest_and_far_better_in_all(seed):
    weight = torch.randn(24, 64, generator=torch.Generator().manual_seed(seed))
    x = correlated(400, 64, seed)
    curvature = x.T @ x
    careful = output_error(weight, round_calibrated(weight, curvature, 32).values(), curvature)
    nearest = output_error(weight, round_nearest(weight, 32).values(), curvature)
    assert (careful <= nearest * (1 + 1e-5)).all()
    assert careful.sum() < 0.3 * nearest.sum()


def test_rounding_a_decoder_leaves_it_alone_and_rounds_what_was_asked(model, sampled):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = {"layers.0.qkv": "w4a8", "layers.0.down": "w8a8", "layers.1.out": "w4a8"}
    rounded = round_decoder(
        model.language_model,
        sampled.embeddings,
        sampled.position_weights,
        {**wanted, "head": "w4a8"},
        32,
    )
    assert set(rounded) == {"layers.0.qkv", "layers.1.out", "head"}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_padding_has_no_say(model, sampled):
    wanted = {"layers.0.qkv": "w4a8", "layers.1.down": "w4a8"}
    padded = torch.nn.functional.pad(sampled.embeddings, (0, 0, 0, 7), value=3.0)
    position_weights = torch.nn.functional.pad(sampled.position_weights, (0, 7))
    language_model = model.language_model
    with_padding = round_decoder(language_model, padded, position_weights, wanted, 32)
    without = round_decoder(
        language_model, sampled.embeddings, sampled.position_weights, wanted, 32
    )
    for name, rounded in without.items():
        same = (with_padding[name].codes == rounded.codes).float().mean()
        assert same > 0.98  # sums of other lengths are rounded otherwise


def test_an_answer_counts_four_times(model, sampled):
    """As in four equal sequences, where all other positions count a quarter each."""
    fourfold = torch.cat([sampled.embeddings] * 4)
    quarter = sampled.used.float() / 4
    four = torch.cat([torch.where(sampled.answers, 1.0, quarter)] * 4)
    assert set(sampled.position_weights[sampled.answers].tolist()) == {4.0}
    wanted = {"layers.0.qkv": "w4a8", "layers.1.down": "w4a8"}
    language_model = model.language_model
    once = round_decoder(language_model, sampled.embeddings, sampled.position_weights, wanted, 32)
    repeated = round_decoder(language_model, fourfold, four, wanted, 32)
    flat = round_decoder(language_model, sampled.embeddings, sampled.used.float(), wanted, 32)
    for name, rounded in once.items():
        assert (repeated[name].codes == rounded.codes).float().mean() > 0.98
        assert (flat[name].codes == rounded.codes).float().mean() < 0.98


def test_tokens_of_a_picture_take_nothing_from_the_text(model, tiny_merged, tmp_path, monkeypatch):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "red car"}]
    record = {"id": "0", "image": "a.png", "conversations": turns}
    (tmp_path / "data.json").write_text(json.dumps([record]))
    processor = MobileVLMProcessor.from_pretrained(tiny_merged)
    encoded = processor.encode_record(_turns("What?", "red car"), True)
    tokens = len(encoded.prefix) + len(encoded.ids)
    for cut in (0, 1):
        longest = tokens - processor.num_image_tokens - cut
        monkeypatch.setattr("hydra_export.quantization.calibration._LONGEST", longest)
        found = from_data(model, processor, TrainingData(tmp_path / "data.json"))
        assert found.ids.shape[1] == tokens - cut


def test_sensitivity_finds_the_part_that_cannot_bear_it(tiny_merged, sampled):
    model = load_model(tiny_merged).requires_grad_(False)
    few = sampled.first(6)
    costs = sensitivity.measure(model.language_model, few, 32)
    assert [cost.name for cost in costs] == [
        f"layers.{i}.{part}" for i in (0, 1) for part in ("qkv", "out", "gate_up", "down")
    ] + ["head", "embedding"]
    assert all(cost.divergence >= 0 for cost in costs)
    assert dearest_of_the_last_layer(costs) != "layers.1.down"
    # The part speaks loudly, and one weight of each group takes the codes away from the others.
    weight = model.language_model.model.layers[1].mlp.down_proj.weight.data
    weight *= 20
    weight[:, ::32] *= 8
    costs = sensitivity.measure(model.language_model, few, 32)
    assert dearest_of_the_last_layer(costs) == "layers.1.down"


def dearest_of_the_last_layer(costs: list[PartCost]) -> str:
    last = [cost for cost in costs if cost.name.startswith("layers.1.")]
    return max(last, key=lambda cost: cost.per_byte).name


def test_measuring_is_what_a_run_with_the_part_rounded_gives(model, sampled):
    few = sampled.first(4)
    language_model = model.language_model
    cost = next(
        cost
        for cost in sensitivity.measure(language_model, few, 32)
        if cost.name == "layers.0.gate_up"
    )
    parts = linear_units(language_model.model.layers[0], 0)["layers.0.gate_up"]
    rounded = round_nearest(torch.cat([part.weight for part in parts]), 32).values()

    def log_shares() -> torch.Tensor:
        logits = language_model(inputs_embeds=few.embeddings).logits
        return logits[few.answers].log_softmax(-1)

    reference = log_shares()
    with weights_replaced({parts: rounded}):
        changed = log_shares()
    expected = (reference.exp() * (reference - changed)).sum(-1).mean()
    assert cost.divergence == pytest.approx(float(expected), rel=1e-2, abs=1e-7)


def test_bytes_of_a_weight():
    assert bytes_at("fp32", (8, 64), 32) == 2048
    assert bytes_at("fp16", (8, 64), 32) == 1024
    assert bytes_at("w8a8", (8, 64), 32) == 512 + 8 * 4
    assert bytes_at("w4a8", (8, 64), 32) == 256 + 8 * 2 * 2


def test_the_budget_buys_what_costs_most_for_each_byte_and_is_kept():
    costs = [
        PartCost("big", 1000, 0.9, 1000),
        PartCost("dear", 100, 0.5, 100),
        PartCost("small", 100, 0.01, 100),
        PartCost("free", 10, 0.0, 10),
    ]
    assert keep_at_8_bits(costs, 50) == set()
    assert keep_at_8_bits(costs, 100) == {"dear"}
    # What does not fit is passed over.
    assert keep_at_8_bits(costs, 250) == {"dear", "small"}
    assert keep_at_8_bits(costs, 1100) == {"dear", "big"}
    assert keep_at_8_bits(costs, 10**9) == {"dear", "big", "small"}


def test_calibration_from_training_data(model, tiny_merged, tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    records = [
        {
            "id": str(i),
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": f"<image>\nWhat is it{'?' * (i + 1)}"},
                {"from": "gpt", "value": "red car"},
            ],
        }
        for i in range(5)
    ]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(records))
    processor = MobileVLMProcessor.from_pretrained(tiny_merged)
    found = from_data(model, processor, TrainingData(path), records=3)
    assert found.source["kind"] == "training data"
    assert found.source["sequences"] == 3
    assert len(found.source["sha256"]) == 64
    assert found.embeddings.shape[:2] == found.ids.shape == found.used.shape
    # The token after an answering position is one that training learns.
    encoded = processor.encode_record(_turns("What is it?", "red car"), True)
    labels = [-100] * len(encoded.prefix) + encoded.labels
    assert int(found.answers[0].sum()) == sum(label != -100 for label in labels)
    assert bool((found.used | ~found.answers).all())
    pictures = (found.ids[0] == -1) & found.used[0]
    assert int(pictures.sum()) == processor.num_image_tokens
    # The table gives back the embeddings of its tokens and leaves the picture.
    table = model.get_input_embeddings().weight
    assert torch.allclose(found.with_table(table), found.embeddings)
    changed = found.with_table(table + 1)
    assert torch.equal(changed[0, pictures], found.embeddings[0, pictures])
    assert not torch.equal(changed, found.embeddings)


def _turns(question: str, answer: str) -> Any:
    from hydra_mobile.models.templates import Turn

    return (Turn(question, answer),)


def test_data_without_pictures_is_refused(model, tiny_merged, tmp_path):
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
    path = tmp_path / "text.json"
    path.write_text(json.dumps([{"id": "a", "conversations": turns}]))
    processor = MobileVLMProcessor.from_pretrained(tiny_merged)
    with pytest.raises(DataError, match=r"text\.json.*image"):
        from_data(model, processor, TrainingData(path))
