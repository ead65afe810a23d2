"""The plan of a quantized decoder: precisions, the budget, and what the manifest is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from hydra_export.quantization import mixed_precision as mixing
from hydra_export.quantization.calibration import Calibration, self_sampled
from hydra_export.quantization.mixed_precision import plan_decoder
from hydra_export.quantization.plan import QuantizationPlan
from hydra_mobile.bundle.presets import PRESETS, Preset, preset_named
from hydra_mobile.models.loading import load_model

INT4 = preset_named("int4")


@pytest.fixture(scope="module")
def model(tiny_merged: Path) -> Any:
    return load_model(tiny_merged).requires_grad_(False)


@pytest.fixture(scope="module")
def sampled(model: Any) -> Calibration:
    return self_sampled(model, 32)


def planned(model: Any, preset: Preset, sampled: Calibration | None = None) -> QuantizationPlan:
    return plan_decoder(model, preset, sampled, 32, lambda _: None)


def test_presets_that_need_no_rounding_calibrate_nothing(model):
    for name in ("fp32", "fp16", "int8"):
        plan = planned(model, preset_named(name))
        assert plan.int4 == {}
        assert plan.details == {}
        assert plan.precisions["layers.1.down"] == PRESETS[name].decoder
        assert plan.precisions["embedding"] == PRESETS[name].embedding


def test_a_budget_that_cannot_be_kept_raises_nothing(model, sampled):
    plan = planned(model, INT4, sampled)
    assert set(plan.precisions.values()) == {"w4", "w4a8"}
    assert plan.details["mixed_precision"]["spare_bytes"] < 0
    assert plan.details["calibration"] == sampled.source
    assert plan.details["group_size"] == 32


@pytest.mark.parametrize("budget", [0.42, 0.5])
def test_the_budget_is_spent_and_kept(model, sampled, budget, monkeypatch):
    monkeypatch.setattr(mixing, "_PROGRAM_OVERHEAD", 0)
    preset = dataclasses.replace(INT4, budget=budget)
    plan = planned(model, preset, sampled)
    facts = plan.details["mixed_precision"]
    raised = set(facts["kept_at_8_bits"])
    assert raised
    assert raised == {n for n, p in plan.precisions.items() if p in ("w8", "w8a8")}
    assert set(plan.int4) == set(plan.precisions) - raised
    assert {cost["name"] for cost in facts["costs"]} == set(plan.precisions)
    spent = sum(cost["extra_bytes"] for cost in facts["costs"] if cost["name"] in raised)
    assert spent <= facts["spare_bytes"]
    left = mixing.spare_bytes(
        model, preset, dict(mixing._parts(model.language_model)), plan.precisions
    )
    assert left == facts["spare_bytes"] - spent


def test_more_budget_keeps_more(model, sampled, monkeypatch):
    monkeypatch.setattr(mixing, "_PROGRAM_OVERHEAD", 0)
    kept = [
        len(
            planned(model, dataclasses.replace(INT4, budget=budget), sampled).details[
                "mixed_precision"
            ]["kept_at_8_bits"]
        )
        for budget in (0.33, 0.42, 0.60)
    ]
    assert kept[0] < kept[1] < kept[2] == 10


def test_what_groups_do_not_divide_has_8_bits_and_is_told(model, sampled):
    plan = planned(model, dataclasses.replace(INT4, group_size=128, budget=None), sampled)
    assert plan.precisions["layers.0.qkv"] == "w8a8"
    assert plan.precisions["embedding"] == "w8"
    assert any(
        "layers.0.qkv has 64 inputs, no multiple of the group size 128" in s for s in plan.fallbacks
    )


def test_nearest_rounding_can_be_asked_for(model, sampled):
    plan = planned(model, dataclasses.replace(INT4, rounding="nearest", sensitive=None), sampled)
    assert plan.details["algorithm"].startswith("nearest")
    assert set(plan.int4) == set(plan.precisions)
