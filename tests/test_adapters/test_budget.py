import pytest
import torch
from torch import nn

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.lora import inject
from hydra_mobile.adapters.lora_layers import lora_layers
from hydra_mobile.adapters.policies import POLICIES, PolicyInput, allocate
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ArtifactError, BudgetError, ConfigError

SMALL = (24, 2048, 5632, 16)
LARGE = (32, 2560, 6912, 32)


@pytest.mark.parametrize(
    ("shape", "modules", "reference"), [(SMALL, 168, 121_110_528), (LARGE, 224, 200_278_016)]
)
def test_published_totals_on_the_meta_device(mobilellama_budget, shape, modules, reference):
    budget = mobilellama_budget(*shape)
    assert len(budget.cost) == modules
    assert budget.reference == reference
    assert budget.check(dict.fromkeys(budget.cost, 128)) == reference


@pytest.mark.parametrize(
    ("shape", "extra", "percent"),
    [(SMALL, "22,020,096", "+18.2%"), (LARGE, "35,651,584", "+17.8%")],
)
def test_an_equal_sum_of_ranks_is_not_an_equal_budget(mobilellama_budget, shape, extra, percent):
    budget = mobilellama_budget(*shape)
    # 64 ranks from each of q, k, v, o to the three feed-forward matrices: 256 per layer.
    gain = {"gate_proj": 86, "up_proj": 85, "down_proj": 85}
    ranks = {n: 128 + gain.get(n.rpartition(".")[2], -64) for n in budget.cost}
    assert sum(ranks.values()) == 128 * len(budget.cost)
    with pytest.raises(BudgetError) as error:
        budget.check(ranks)
    assert extra in str(error.value)
    assert percent in str(error.value)


def test_fifteen_attention_ranks_buy_eight_feed_forward_ranks(mobilellama_budget):
    budget = mobilellama_budget(*SMALL)
    ranks = dict.fromkeys(budget.cost, 128)
    ranks["model.layers.0.self_attn.q_proj"] -= 15
    ranks["model.layers.5.mlp.up_proj"] += 8
    assert budget.check(ranks) == budget.reference
    ranks["model.layers.5.mlp.up_proj"] += 1
    with pytest.raises(BudgetError, match="7,680"):
        budget.check(ranks)


def test_real_sizes_are_allocated_exactly_and_quickly(mobilellama_budget):
    budget = mobilellama_budget(*LARGE)
    scores = {name: 1.0 + (i * 37 % 11) for i, name in enumerate(budget.cost)}
    for policy in POLICIES.keys() - {"fixed"}:
        used = budget.check(allocate(policy, PolicyInput(budget, scores)))
        assert 0 <= budget.reference - used < 75_776


def test_an_unknown_module_is_named_with_the_nearest(model, budget):
    with pytest.raises(ConfigError, match=r"`language_model\.model\.layers\.0"):
        Budget.of(model, ["language_model.model.layers.0.self_attn.q_prj"], 8)
    with pytest.raises(ConfigError, match=r"model\.norm.* linear"):
        Budget.of(model, ["language_model.model.norm"], 8)
    with pytest.raises(BudgetError, match="budget"):
        budget.check({"projector": 1})


def test_live_tensors_are_counted_not_the_table(model, names, budget):
    rank_map = RankMap(dict.fromkeys(names, 8))
    inject(model, rank_map, r_ref=8, alpha_ref=16)
    assert budget.check_live(model) == budget.reference
    a = lora_layers(model)[names[0]].lora_A["default"]
    b = lora_layers(model)[names[0]].lora_B["default"]
    a.weight = nn.Parameter(torch.zeros(9, 32))
    with pytest.raises(BudgetError, match="rank"):
        budget.check_live(model)
    b.weight = nn.Parameter(torch.zeros(32, 9))
    with pytest.raises(BudgetError, match="64"):
        budget.check_live(model)


def test_a_lora_outside_the_budget_is_refused(model, names):
    inject(model, RankMap(dict.fromkeys(names, 1)), r_ref=8, alpha_ref=16)
    part = Budget({name: 64 for name in names[1:]}, 8)
    with pytest.raises(BudgetError, match="budget"):
        part.check_live(model)


def test_rank_map_drops_rank_zero_and_does_not_depend_on_order(tmp_path):
    rank_map = RankMap({"b": 2, "a": 1, "c": 0})
    assert dict(rank_map) == {"a": 1, "b": 2}
    assert rank_map.digest() == RankMap({"a": 1, "b": 2}).digest()
    assert RankMap.from_json(rank_map.to_json()) == rank_map
    rank_map.write(tmp_path / "ranks.json")
    assert RankMap.read(tmp_path / "ranks.json") == rank_map
    with pytest.raises(TypeError):
        rank_map["a"] = 3
    for wrong in (-1, 1.5, True, "4"):
        with pytest.raises(ValueError, match="integer"):
            RankMap({"a": wrong})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable JSON"),
        ("[]", "holds no rank map"),
        ('{"schema": 9, "ranks": {"a": 1}}', "schema 9"),
        ('{"schema": 1, "ranks": {"a": 1}, "digest": "0"}', "digest"),
        ('{"a": -1}', "expected an integer"),
    ],
)
def test_a_bad_rank_file_is_refused(tmp_path, text, message):
    path = tmp_path / "ranks.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=message):
        RankMap.read(path)
