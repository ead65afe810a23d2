"""Maps by shape: they cost no more than uniform LoRA, and the budget lies where the name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.quality.arms import SETTINGS, VARIANTS, overrides_of
from experiments.quality.maps import SHAPES, shaped, write_maps
from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.models.registry import fetch

_COST = {
    f"model.layers.{layer}.{linear}": cost
    for layer in range(6)
    for linear, cost in (("self_attn.q_proj", 100), ("mlp.up_proj", 250))
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_spends_the_budget(shape: str) -> None:
    budget = Budget(_COST, 16)
    ranks = shaped(shape, budget, Grid(4, 4, 32))
    assert budget.reference - 4 * max(_COST.values()) < budget.cost_of(ranks) <= budget.reference
    first, last = ranks["model.layers.0.mlp.up_proj"], ranks["model.layers.5.mlp.up_proj"]
    attention, mlp = ranks["model.layers.2.self_attn.q_proj"], ranks["model.layers.2.mlp.up_proj"]
    found = {
        "early": first > last,
        "late": first < last,
        "mlp": mlp > attention,
        "attention": mlp < attention,
    }
    assert found.pop(shape)
    # What a shape is not about stays even.
    if shape in ("early", "late"):
        assert attention == mlp


def test_the_arms_name_files_that_are_written(tmp_path: Path) -> None:
    setting = SETTINGS["moderate"]
    write_maps(fetch("tiny"), setting, tmp_path)
    for shape in SHAPES:
        assert shape in VARIANTS
        key, _, file = overrides_of(shape, setting, tmp_path)[-1].partition("=")
        assert key == "ranks.map_file"
        assert len(RankMap.read(Path(file)))
