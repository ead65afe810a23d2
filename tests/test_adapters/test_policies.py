"""Every policy passes the same contract; one class per stage after that."""

import math
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_mobile.adapters.allocate import Grid, fill, project
from hydra_mobile.adapters.allocate_kinds import relative_to_kind
from hydra_mobile.adapters.allocate_layers import (
    by_layer,
    kmeans,
    layer_multipliers,
    layer_of,
    layer_scores,
)
from hydra_mobile.adapters.allocate_modules import (
    ranks_within,
    targets_per_cost,
    targets_within,
)
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.policies import POLICIES, PolicyInput, allocate, policy_named
from hydra_mobile.adapters.policies.coarse import layer_levels, layer_ranks, level_multipliers
from hydra_mobile.adapters.policies.hydra import start_policy
from hydra_mobile.adapters.policies.reversed import mirrored, mirrored_scores
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import BudgetError, ConfigError, HydraError

# The proportions of the tiny model of the method reference: hidden 32, intermediate 88, 4 layers.
COST = {
    f"lm.layers.{layer}.{kind}": cost
    for layer in range(4)
    for kind, cost in {
        "q": 64, "k": 64, "v": 64, "o": 64, "gate": 120, "up": 120, "down": 120
    }.items()
}  # fmt: skip
BUDGET = Budget(COST, 16)
# `hydra` starts as others do, see `test_hydra_starts_uniform`.
CHOOSERS = sorted(POLICIES.keys() - {"fixed", "hydra"})
SCORED = [policy for policy in CHOOSERS if policy_named(policy).needs_importance]
# MobileLLaMA 1.4B and 2.7B: layers, hidden, intermediate, heads; parameters of rank 128.
REAL = {(24, 2048, 5632, 16): 121_110_528, (32, 2560, 6912, 32): 200_278_016}


def scores_of(values) -> dict[str, float]:
    return dict(zip(COST, values, strict=True))


awkward = st.one_of(
    st.lists(st.floats(0, 1e30), min_size=28, max_size=28),
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 1e-300, 1e300]), min_size=28, max_size=28),
    st.integers(0, 27).map(lambda hot: [1.0 if i == hot else 0.0 for i in range(28)]),
).map(scores_of)


def require_contract(policy: str, inputs: PolicyInput) -> RankMap:
    rank_map = allocate(policy, inputs)
    budget, grid = inputs.budget, inputs.grid
    left = budget.reference - budget.cost_of(rank_map)
    assert left >= 0
    for name in budget.cost:
        rank = rank_map.get(name, 0)
        assert grid.lowest <= rank <= grid.highest
        assert rank % grid.step == 0
        # No affordable step is left.
        assert rank == grid.highest or left < grid.step * budget.cost[name]
    return rank_map


@pytest.mark.parametrize("policy", CHOOSERS)
class TestEveryPolicy:
    @settings(max_examples=100, deadline=None)
    @given(scores=awkward, grid=st.sampled_from([(8, 8), (4, 4), (1, 0), (2, 6)]))
    def test_never_costs_more_and_wastes_nothing(self, policy, scores, grid):
        step, lowest = grid
        require_contract(policy, PolicyInput(BUDGET, scores, rank_step=step, r_min=lowest))

    def test_is_repeatable_and_leaves_the_global_stream(self, policy):
        scores = scores_of(range(1, 29))
        state = random.getstate()
        first = allocate(policy, PolicyInput(BUDGET, scores, 4, 4, seed=3))
        assert (
            allocate(policy, PolicyInput(BUDGET, scores, 4, 4, seed=3)).digest() == first.digest()
        )
        assert random.getstate() == state

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
    def test_a_bad_score_never_reaches_the_ranks(self, policy, bad):
        scores = scores_of([1.0] * 27 + [bad])
        if policy_named(policy).needs_importance:
            with pytest.raises(ConfigError, match=r"lm\.layers\.3\.down"):
                allocate(policy, PolicyInput(BUDGET, scores))
        else:
            allocate(policy, PolicyInput(BUDGET, scores))

    def test_says_when_it_needs_importance(self, policy):
        if policy_named(policy).needs_importance:
            with pytest.raises(ConfigError, match="importance"):
                allocate(policy, PolicyInput(BUDGET))
        else:
            allocate(policy, PolicyInput(BUDGET))


#: SmolLM2-135M and MobileLLaMA 1.4B: (layers, parameters per rank by kind). k and v of the first
#: are narrower than q and o (grouped-query attention).
SHAPES = {
    "smol": (30, {"q": 1152, "k": 768, "v": 768, "o": 1152, "gate": 2112, "up": 2112,
                  "down": 2112}),
    "1.4b": (24, dict.fromkeys("qkvo", 4096) | dict.fromkeys(("gate", "up", "down"), 7680)),
    "tiny": (4, dict.fromkeys("qkvo", 64) | dict.fromkeys(("gate", "up", "down"), 120)),
    # Kinds too few to have a mean.
    "two layers": (2, {"q": 90, "k": 60, "down": 300}),
}  # fmt: skip
NULL = sorted({*SCORED} - {"coarse_kmeans", "coarse_fine_per_cost"})


def shaped(shape: str, r_ref: int) -> Budget:
    layers, cost = SHAPES[shape]
    return Budget({f"lm.layers.{i}.{k}": c for i in range(layers) for k, c in cost.items()}, r_ref)


def equal_scores(budget: Budget, noise: float, seed: int = 0) -> dict[str, float]:
    """Importance that is the same for all modules of a kind, up to noise."""
    draw = np.random.default_rng(seed)
    kinds = {name.rpartition(".")[2] for name in budget.cost}
    # Kinds are of different size: the rule must not see that.
    scale = {kind: 10.0**i for i, kind in enumerate(sorted(kinds))}
    if len(budget.cost) < 10:
        scale = dict.fromkeys(scale, 1.0)
    return {
        name: scale[name.rpartition(".")[2]] * math.exp(draw.normal(0, noise))
        for name in budget.cost
    }


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("step", [1, 2, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
class TestTheNull:
    """Where importance is equal there is nothing to allocate: the map is uniform, exactly."""

    @pytest.mark.parametrize("policy", NULL)
    def test_equal_importance_gives_the_uniform_map(self, policy, shape, step, noise):
        budget = shaped(shape, 16)
        scores = equal_scores(budget, noise)
        if shape == "two layers":
            # In a pool a score counts by the size of its matrix.
            scores = {name: score * budget.cost[name] for name, score in scores.items()}
        ranks = allocate(policy, PolicyInput(budget, scores, step, step))
        assert set(ranks.values()) == {16}

    def test_the_former_stages_do_not_keep_it(self, shape, step, noise):
        budget = shaped(shape, 16)
        scores = dict.fromkeys(budget.cost, 1.0) if noise == 0.0 else equal_scores(budget, noise)
        ranks = allocate("coarse_fine_per_cost", PolicyInput(budget, scores, step, step))
        assert set(ranks.values()) != {16}


class TestRelativeToKind:
    def test_scaling_a_kind_changes_nothing(self):
        scores = scores_of(np.exp(np.random.default_rng(1).normal(0, 1, 28)))
        louder = {n: s * (100.0 if n.endswith(".v") else 1.0) for n, s in scores.items()}
        for policy in NULL:
            inputs = PolicyInput(BUDGET, scores, 2, 2)
            assert allocate(policy, inputs) == allocate(policy, PolicyInput(BUDGET, louder, 2, 2))

    def test_a_kind_has_the_geometric_mean_one(self):
        relative = relative_to_kind(scores_of(range(1, 29)), COST)
        logs = [math.log(relative[name]) for name in COST if name.endswith(".gate")]
        assert sum(logs) == pytest.approx(0)
        assert relative["lm.layers.3.gate"] > relative["lm.layers.0.gate"]

    def test_kinds_of_few_modules_share_a_pool(self):
        cost = {"l.0.a": 10, "l.1.a": 10, "l.0.b": 40, "l.1.b": 40}
        assert set(relative_to_kind(dict(cost), cost).values()) == {1.0}
        few = {"l.0.a": 10, "l.1.a": 10}
        assert set(relative_to_kind({"l.0.a": 1.0, "l.1.a": 9.0}, few).values()) == {1.0}


def random_scores(modules: int, count: int):
    """Yield vectors over many orders of magnitude: plain, tied, with zeros, one-hot, all zero."""
    rng = np.random.default_rng(0)
    for i in range(count):
        scores = np.exp(rng.normal(0, rng.uniform(0, 8), modules))
        match i % 5:
            case 1:
                scores = rng.choice(scores[:3], modules)
            case 2:
                scores[rng.random(modules) < rng.random()] = 0.0
            case 3:
                scores = np.eye(modules)[rng.integers(modules)] * scores
            case 4 if i % 100 == 4:
                scores[:] = 0.0
        yield scores.tolist()


@pytest.mark.parametrize("policy", SCORED)
def test_many_score_vectors_stay_within_the_budget(policy):
    for values in random_scores(len(COST), 500):
        require_contract(policy, PolicyInput(BUDGET, scores_of(values)))


@pytest.mark.parametrize("policy", CHOOSERS)
@pytest.mark.parametrize("shape", REAL)
def test_real_configurations_stay_within_the_budget(mobilellama_budget, policy, shape):
    budget = mobilellama_budget(*shape)
    assert budget.reference == REAL[shape]
    for seed, values in enumerate(random_scores(len(budget.cost), 10)):
        scores = dict(zip(budget.cost, values, strict=True))
        require_contract(policy, PolicyInput(budget, scores, seed=seed))


def test_hydra_starts_uniform():
    scores = scores_of(range(1, 29))
    assert set(allocate("hydra", PolicyInput(BUDGET, scores)).values()) == {16}
    assert [policy_named(policy).moves for policy in ("hydra", "coarse_fine")] == [True, False]
    assert start_policy("auto", "trailing") == "uniform"
    # As runs of before there was a choice began.
    assert start_policy("auto", "paired_probe") == "coarse_fine_per_cost"
    assert start_policy("coarse_fine", "trailing") == "coarse_fine"


class TestReversed:
    scores = scores_of(100.0 ** (i % 7 + 1) + 10.0 ** (i // 7) for i in range(28))

    def test_scores_change_places_on_both_levels(self):
        relative = relative_to_kind(self.scores, COST)
        wanted = list(mirrored(layer_levels(relative)).values())
        turned = mirrored_scores(relative)
        assert list(layer_levels(turned).values()) == pytest.approx(wanted)
        for names in by_layer(list(COST)).values():
            upright = sorted(names, key=lambda n: relative[n])
            assert sorted(names, key=lambda n: -turned[n]) == upright

    def test_the_needy_get_least(self):
        scores = {n: (3.0 ** int(layer_of(n)[-1])) * (9.0 if n[-1] == "v" else 1.0) for n in COST}
        inputs = PolicyInput(BUDGET, scores, 2, 2)
        right, wrong = allocate("coarse_fine", inputs), allocate("reversed", inputs)
        last, first = "lm.layers.3.v", "lm.layers.0.v"
        assert right[last] > right[first]
        assert wrong[last] < wrong[first]
        relative = [math.log(score) for score in relative_to_kind(scores, COST).values()]
        assert np.corrcoef(relative, [right[n] for n in COST])[0, 1] > 0.5
        assert np.corrcoef(relative, [wrong[n] for n in COST])[0, 1] < -0.5
        # As unequal as the map it controls for.
        spread = [np.std(list(ranks.values())) for ranks in (right, wrong)]
        assert spread[1] == pytest.approx(spread[0], rel=0.3)

    def test_twice_is_back(self):
        scores = {"a": 3.0, "b": 1.0, "c": 2.0}
        assert mirrored(scores) == {"a": 1.0, "b": 3.0, "c": 2.0}
        assert mirrored(mirrored(scores)) == scores


class TestAllocation:
    def test_ranks_follow_wishes(self):
        grids = dict.fromkeys("ab", Grid(1, 0, 1000))
        assert project({"a": 3.0, "b": 1.0}, {"a": 10, "b": 10}, 400, grids) == {"a": 30, "b": 10}

    def test_ties_go_to_the_first_name(self):
        grids = dict.fromkeys("abc", Grid(8, 8, 64))
        wishes = dict.fromkeys("abc", 1.0)
        assert project(wishes, dict.fromkeys("abc", 1), 8 * 4, grids) == {"a": 16, "b": 8, "c": 8}

    def test_a_step_that_does_not_fit_makes_room_for_a_cheaper_one(self):
        grids = dict.fromkeys("ab", Grid(1, 1, 9))
        assert fill({"a": 1, "b": 1}, {"a": 9.0, "b": 1.0}, {"a": 5, "b": 2}, 10, grids) == {
            "a": 1, "b": 2
        }  # fmt: skip

    def test_lowest_ranks_above_the_budget_are_refused(self):
        with pytest.raises(ConfigError, match="Lower r_min"):
            allocate("random", PolicyInput(BUDGET, rank_step=24, r_min=24, r_max=48))

    @pytest.mark.parametrize("grid", [(0, 0, 8), (8, 4, 16), (8, 8, 20), (8, 16, 8), (1, -1, 4)])
    def test_no_grid(self, grid):
        with pytest.raises(ConfigError, match="grid"):
            Grid(*grid)


class TestCoarse:
    def test_layers_are_found_by_the_first_number(self):
        assert layer_of("language_model.model.layers.11.self_attn.q_proj") == (
            "language_model.model.layers.11"
        )
        assert layer_of("layers.1.experts.0.up") == "layers.1"
        assert layer_of("lm_head2.out") == "lm_head2.out"

    def test_planted_groups_are_recovered(self):
        scores = {f"l{i}": s for i, s in enumerate([1.0, 1.1, 10, 11, 9, 100, 130])}
        assert list(layer_multipliers(scores).values()) == [0.5, 0.5, 1, 1, 1, 2, 2]

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.integers(0, 40), min_size=1, max_size=9), st.integers(1, 4))
    def test_kmeans_equals_brute_force(self, integers, k):
        values = [v / 7 for v in integers]

        def cost(groups):
            total = 0.0
            for group in groups:
                mean = sum(group) / len(group)
                total += sum((v - mean) ** 2 for v in group)
            return total

        ordered = sorted(values)
        k_used = min(k, len(set(values)))
        best = min(
            cost([ordered[i:j] for i, j in zip((0, *cuts), (*cuts, len(ordered)), strict=True)])
            for cuts in combinations(range(1, len(ordered)), k_used - 1)
        )
        labels = kmeans(values, k)
        found = [[v for v, g in zip(values, labels, strict=True) if g == x] for x in set(labels)]
        assert cost(found) == pytest.approx(best, abs=1e-9)
        assert len(set(labels)) == k_used
        by_value = [g for _, g in sorted(zip(values, labels, strict=True))]
        assert by_value == sorted(by_value)

    def test_it_does_not_depend_on_the_order_of_layers(self):
        values = [0.0, 3.0, 3.0, 8.0, 1e-12, 40.0, 7.0]
        scores = {f"l{i}": v for i, v in enumerate(values)}
        shuffled = dict(random.Random(2).sample(list(scores.items()), len(scores)))
        assert layer_multipliers(shuffled) == layer_multipliers(scores)

    def test_rules_for_awkward_scores(self):
        assert set(layer_multipliers({"a": 0.0, "b": 0.0}).values()) == {1.0}
        assert set(layer_multipliers({"a": 3.0, "b": 3.0 * (1 + 1e-12)}).values()) == {1.0}
        assert layer_multipliers({"a": 0.0, "b": 5.0}) == {"a": 0.5, "b": 2.0}
        with pytest.raises(ConfigError, match="finite"):
            layer_multipliers({"a": math.nan})

    def test_a_layer_scores_the_root_of_summed_squares(self):
        assert layer_scores({"l.0.q": 3.0, "l.0.k": 4.0, "l.1.q": 2.0}) == {"l.0": 5.0, "l.1": 2.0}

    def test_needy_layers_get_more(self):
        scores = {name: 10.0 ** int(layer_of(name)[-1]) for name in COST}
        levels = layer_levels(relative_to_kind(scores, COST))
        ranks = list(
            layer_ranks(PolicyInput(BUDGET, scores, 2, 2), level_multipliers(levels)).values()
        )
        assert ranks == sorted(ranks)
        assert ranks[0] < ranks[-1]


class TestFine:
    @settings(max_examples=300, deadline=None)
    @given(scores=awkward, rank=st.sampled_from([4, 8, 12, 16, 28, 32]))
    def test_a_layer_never_costs_more_than_its_allowance(self, scores, rank):
        relative = relative_to_kind(scores, COST)
        for names in by_layer(list(COST)).values():
            for targets in (
                targets_within(names, rank, relative, COST),
                targets_per_cost(names, rank, scores, COST),
            ):
                ranks = ranks_within(names, rank, targets, COST, Grid(4, 4, 32))
                assert sum(ranks[n] * COST[n] for n in names) <= rank * sum(COST[n] for n in names)
                assert all(0.5 * rank <= r <= 2 * rank for r in ranks.values())

    def test_the_relative_score_decides(self):
        names = list(COST)[:7]
        relative = {name: 3.0 if name.endswith("v") else 1.0 for name in names}
        targets = targets_within(names, 16, relative, COST)
        ranks = ranks_within(names, 16, targets, COST, Grid(1, 1, 32))
        assert ranks["lm.layers.0.v"] == 32
        others = {rank for name, rank in ranks.items() if not name.endswith("v")}
        assert max(others) - min(others) <= 1

    def test_rank_zero_layers_stay_out(self):
        names = list(COST)[:7]
        assert set(
            ranks_within(names, 0, dict.fromkeys(names, 0.0), COST, Grid(1, 0, 32)).values()
        ) == {0}


class TestFixed:
    def test_a_written_map_comes_back(self, tmp_path):
        rank_map = allocate("random", PolicyInput(BUDGET, rank_step=1, r_min=1, seed=5))
        rank_map.write(tmp_path / "ranks.json")
        read = allocate("fixed", PolicyInput(BUDGET, map_file=tmp_path / "ranks.json"))
        assert read == rank_map

    def test_the_budget_applies(self, tmp_path):
        RankMap(dict.fromkeys(COST, 17)).write(tmp_path / "ranks.json")
        with pytest.raises(BudgetError, match=r"\+6\.2%"):
            allocate("fixed", PolicyInput(BUDGET, map_file=tmp_path / "ranks.json"))

    def test_it_needs_a_file(self):
        with pytest.raises(ConfigError, match="file"):
            allocate("fixed", PolicyInput(BUDGET))


def test_an_unknown_policy_is_named_with_the_nearest():
    with pytest.raises(HydraError, match="`uniform`"):
        allocate("unifrm", PolicyInput(BUDGET))


def test_random_maps_differ_by_seed_and_not_by_order():
    first = allocate("random", PolicyInput(BUDGET, rank_step=1, r_min=1, seed=1))
    assert first != allocate("random", PolicyInput(BUDGET, rank_step=1, r_min=1, seed=2))
    assert len(set(first.values())) > 3
