"""peft's AdaLoRA at equal budget: what it holds, that it allocates, that it resumes."""

import copy

import pytest
import torch
from torch import nn

from hydra_mobile.adapters.adalora import AdaLora, initial_rank
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.lora import inject, live_rank_map
from hydra_mobile.adapters.lora_layers import lora_layers
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ArtifactError, BudgetError, ConfigError

STEPS = 20
ALPHA = 12.5


@pytest.fixture
def model(model):
    """Return the stand-in with an output that carries the loss, as the trainer's models have."""

    class WithLoss(type(model)):
        def forward(self, ids):
            return self.language_model(input_ids=ids, labels=ids)

    model.__class__ = WithLoss
    return model


@pytest.fixture
def build(model, names, budget):
    def build(base: nn.Module | None = None, **changes) -> AdaLora:
        base = copy.deepcopy(model) if base is None else base
        arguments = {"alpha_ref": ALPHA, "total_steps": STEPS, "seed": 4} | changes
        return AdaLora.build(base, names, budget, **arguments)

    return build


def adamw(adalora: AdaLora) -> torch.optim.AdamW:
    return torch.optim.AdamW(adalora.parameters().values(), lr=2e-2)


def train(adalora, optimizer, ids, steps):
    """Yield `(step, what update returned)`."""
    for step in steps:
        adalora.model(ids).loss.backward()
        optimizer.step()
        kept = adalora.update(step)
        optimizer.zero_grad()
        yield step, kept


def run(adalora, optimizer, ids, steps):
    return dict(train(adalora, optimizer, ids, steps))


def singular_values(adalora):
    return {
        name.removesuffix(".lora_E"): p.detach().flatten()
        for name, p in adalora.parameters().items()
        if name.endswith("lora_E")
    }


class TestBudget:
    @pytest.mark.parametrize("shape", [(24, 2048, 5632, 16), (32, 2560, 6912, 32)])
    def test_the_initial_rank_is_the_largest_that_fits_with_e(self, mobilellama_budget, shape):
        budget = mobilellama_budget(*shape)
        rank = initial_rank(list(budget.cost), budget)
        assert rank == 127
        per_rank = sum(budget.cost.values()) + len(budget.cost)
        assert rank * per_rank <= budget.reference < (rank + 1) * per_rank

    def test_what_trains_is_below_the_reference_at_every_step(self, build, budget, ids):
        adalora = build()
        assert (adalora.initial_rank, adalora.target_rank) == (7, 5)

        def trainable():
            named = adalora.model.model.named_parameters()
            return sum(p.numel() for n, p in named if p.requires_grad and "lora_" in n)

        for _ in train(adalora, adamw(adalora), ids, range(1, STEPS + 1)):
            assert trainable() == adalora.held() <= budget.reference

    def test_a_budget_without_room_is_refused(self, model, names):
        with pytest.raises(ConfigError, match="rank 1"):
            AdaLora.build(
                model, names, Budget.of(model, names, 2), alpha_ref=2.0, total_steps=STEPS
            )


class TestBuild:
    def test_it_starts_as_the_base_at_the_scale_of_lora(self, build, model, budget, ids):
        adalora = build()
        with torch.no_grad():
            assert torch.equal(adalora.model(ids).logits, model(ids).logits)
            for e in singular_values(adalora).values():
                e.normal_()
        scale = ALPHA / budget.r_ref
        p = {name: tensor.detach() for name, tensor in adalora.parameters().items()}
        for name, layer in lora_layers(adalora.model.model).items():
            a, e, b = (p[f"{name}.{kind}"] for kind in ("lora_A", "lora_E", "lora_B"))
            delta = layer.get_delta_weight("default").detach()
            assert torch.allclose(delta, scale * (b @ (e * a)), rtol=1e-6, atol=1e-9)

    def test_global_random_stream_and_foreign_parameters_stay(self, build, model, names):
        model.vision_tower.requires_grad_(False)
        before = {n for n, p in model.named_parameters() if p.requires_grad}
        state = torch.get_rng_state()
        adalora = build(model, dropout=0.1)
        assert torch.equal(state, torch.get_rng_state())
        frozen = {f"{name}.weight" for name in names}
        after = {n for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n}
        assert after == before - frozen
        assert all(p.requires_grad for p in adalora.parameters().values())
        # The model was in eval mode: no dropout wakes up.
        assert not any(module.training for module in adalora.model.modules())

    def test_the_start_depends_on_seed_and_name_alone(self, build, model, names, budget):
        first = build().parameters()
        torch.manual_seed(99)
        part = AdaLora.build(
            copy.deepcopy(model), names[5:6], budget, alpha_ref=1.0, total_steps=STEPS, seed=4
        )
        for name, parameter in build().parameters().items():
            assert torch.equal(parameter, first[name])
        a, b = (f"{names[5]}.{kind}" for kind in ("lora_A", "lora_B"))
        # Alone it may have a larger rank: the first rows come from the same stream.
        assert torch.equal(part.parameters()[a][:3], first[a][:3])
        assert 0.015 < first[a].std() < 0.025
        assert 0.015 < first[b].std() < 0.025
        assert not torch.equal(build(seed=5).parameters()[a], first[a])

    def test_a_half_precision_base_gets_fp32_tensors(self, build, model):
        adalora = build(model.bfloat16())
        named = adalora.model.model.named_parameters()
        assert {p.dtype for n, p in named if "lora_" in n or "ranknum" in n} == {torch.float32}

    def test_what_it_refuses(self, build, model, names, budget):
        arguments = {"alpha_ref": 2.0, "total_steps": STEPS}
        with pytest.raises(ConfigError, match="Did you mean"):
            AdaLora.build(model, [*names, names[0][:-1]], budget, **arguments)
        with pytest.raises(BudgetError, match="budget"):
            AdaLora.build(model, ["projector"], budget, **arguments)
        with pytest.raises(ConfigError, match="step"):
            build(warmup_share=0.5, final_share=0.5)
        inject(model, RankMap({names[0]: 2}), r_ref=8, alpha_ref=8)
        with pytest.raises(ConfigError, match="already carries"):
            build(model)


class TestAllocation:
    def test_ranks_really_fall_to_the_target(self, build, names, ids):
        # peft #1327: a loop that never calls the allocator trains on without a word.
        adalora = build()
        totals = [sum(adalora.ranks().values())]
        assert totals == [len(names) * 7]
        allocated = []
        for step, kept in train(adalora, adamw(adalora), ids, range(1, STEPS + 1)):
            totals.append(sum(adalora.ranks().values()))
            if kept is not None:
                allocated.append(step)
                assert kept == adalora.ranks()
        # Warm-up of 2 steps, 6 steps at the end with fixed masks.
        assert allocated == list(range(3, 15))
        assert totals == sorted(totals, reverse=True)
        assert totals[14] == totals[-1] == len(names) * 5
        kept = {name: int((e != 0).sum()) for name, e in singular_values(adalora).items()}
        assert RankMap(kept) == adalora.ranks()
        assert len(set(kept.values())) > 1

    def test_the_interval_and_the_default_interval(self, build, ids):
        adalora = build(delta_steps=4)
        done = run(adalora, adamw(adalora), ids, range(1, STEPS + 1))
        assert [step for step, kept in done.items() if kept is not None] == [4, 8, 12, 14]
        config = build(total_steps=5198).model.peft_config["default"]
        assert (config.tinit, config.tfinal, config.deltaT) == (520, 1559, 10)

    def test_the_penalty_is_what_peft_adds(self, build, ids):
        adalora = build()
        added = adalora.model(ids).loss - adalora.model.model(ids).loss
        assert added.item() == pytest.approx(adalora.penalty().item(), rel=1e-5)
        assert added > 0.1

    def test_an_update_after_zero_grad_is_refused(self, build):
        with pytest.raises(RuntimeError, match="before zero_grad"):
            build().update(1)

    def test_a_nan_gradient_does_not_switch_the_masks_off(self, build, ids):
        adalora = build()
        optimizer = adamw(adalora)
        run(adalora, optimizer, ids, range(1, 5))
        adalora.model(ids).loss.backward()
        for parameter in adalora.parameters().values():
            parameter.grad.fill_(float("nan"))
        with pytest.raises(ConfigError, match="not finite"):
            adalora.update(5)


class TestResume:
    @pytest.fixture
    def whole(self, build, ids):
        adalora = build()
        run(adalora, adamw(adalora), ids, range(1, STEPS + 1))
        return adalora

    def resumed(self, build, ids, at, change=lambda state: None):
        first = build()
        optimizer = adamw(first)
        run(first, optimizer, ids, range(1, at + 1))
        state, optimizer_state = first.state(), copy.deepcopy(optimizer.state_dict())
        change(state)
        second = build(seed=5)
        second.load(state)
        optimizer = adamw(second)
        optimizer.load_state_dict(optimizer_state)
        run(second, optimizer, ids, range(at + 1, STEPS + 1))
        return second

    def test_it_is_bit_identical(self, build, ids, whole):
        expected = whole.state()
        # In the warm-up, between allocations, at the last one, with fixed masks.
        for at in (1, 10, 14, 16):
            state = self.resumed(build, ids, at).state()
            assert state.keys() == expected.keys()
            assert all(torch.equal(state[name], expected[name]) for name in expected), at

    def test_without_the_averages_it_is_not(self, build, ids, whole):
        def forget(state):
            for name in [n for n in state if "exp_avg" in n]:
                del state[name]

        assert self.resumed(build, ids, 10, forget).ranks() != whole.ranks()

    def test_the_state_is_a_copy(self, build):
        adalora = build()
        state = adalora.state()
        next(iter(adalora.parameters().values())).data.fill_(7)
        assert not any((tensor == 7).all() for tensor in state.values())

    def test_another_state_is_refused(self, build, ids):
        adalora = build()
        run(adalora, adamw(adalora), ids, range(1, 5))
        state = adalora.state()
        missing = next(name for name in state if name.endswith("exp_avg_unc"))
        for changed in (
            {name: t for name, t in state.items() if name != missing},
            state | {"another.lora_A": torch.zeros(1)},
            {name: t[:1] for name, t in state.items()},
        ):
            with pytest.raises(ArtifactError, match=r"differ|shape"):
                build().load(changed)


class TestToLora:
    @pytest.fixture
    def trained(self, build, ids):
        adalora = build()
        run(adalora, adamw(adalora), ids, range(1, STEPS + 1))
        return adalora

    @pytest.mark.parametrize("emptied", [False, True])
    def test_plain_lora_computes_the_same(self, trained, names, model, budget, ids, emptied):
        inner, ranks = trained.model.model, dict(trained.ranks())
        if emptied:
            singular_values(trained)[names[3]].zero_()
            del ranks[names[3]]
        with torch.no_grad():
            expected = inner(ids).logits
            assert (expected - model(ids).logits).abs().max() > 0.05
            state = torch.get_rng_state()
            assert trained.to_lora() == RankMap(ranks)
            assert torch.equal(state, torch.get_rng_state())
            assert torch.allclose(inner(ids).logits, expected, atol=1e-5)
        assert live_rank_map(inner) == RankMap(ranks)
        assert budget.check_live(inner) <= budget.reference
        scales = {layer.scaling["default"] for layer in lora_layers(inner).values()}
        assert scales == {ALPHA / budget.r_ref}
        assert not any("lora_E" in name for name, _ in inner.named_parameters())

    def test_before_the_first_step_there_is_nothing_to_keep(self, build):
        adalora = build()
        with pytest.raises(ConfigError, match="trained"):
            adalora.to_lora()
        assert adalora.held() > 0
