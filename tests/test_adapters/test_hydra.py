from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from trainer_models import LAYERS, batches, llama, llava, pictures, smolvlm, texts, trainer
from transformers import TrainerCallback

from hydra_mobile.adapters import DynamicConfig, Hydra, HydraCallback
from hydra_mobile.adapters.allocate_layers import layer_of
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.dynamic import probe_controller as controller_module
from hydra_mobile.adapters.dynamic.data import Prediction
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.lora import initial_a, lora_parameters
from hydra_mobile.adapters.lora_layers import lora_layers
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.save_load import read_adapter
from hydra_mobile.core.errors import ArtifactError, ConfigError, HydraError

EARLY = DynamicConfig(target="paired_probe", warmup=0.34, every=0.17, until=0.7)


def hydra_of(model: nn.Module, **more) -> Hydra:
    given = {"r_ref": 4, "alpha_ref": 8, "targets": LAYERS, "dynamic": EARLY}
    given["calibration_batches"] = 4
    return Hydra(model, **(given | more))


class Ledger(TrainerCallback):
    """Counts the live tensors after every step, and who holds them."""

    def __init__(self, hydra: Hydra) -> None:
        self.hydra = hydra
        self.counts: list[int] = []
        self.values: list[dict[str, torch.Tensor]] = []

    def on_step_end(self, args, state, control, model, optimizer, **given):
        trained = [p for p in model.parameters() if p.requires_grad]
        held = [p for group in optimizer.optimizer.param_groups for p in group["params"]]
        assert sorted(map(id, trained)) == sorted(map(id, held))
        assert {id(p) for p in optimizer.optimizer.state} == {id(p) for p in trained}
        assert all(p.grad is None for p in trained)
        for parameter, moments in optimizer.optimizer.state.items():
            assert moments["exp_avg"].shape == moments["exp_avg_sq"].shape == parameter.shape
        self.counts.append(sum(p.numel() for p in trained))
        self.values.append(
            {n: p.detach().clone() for n, p in lora_parameters(self.hydra.model).items()}
        )


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in lora_parameters(model).items()}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


# -- under the Trainer ------------------------------------------------------------------------


class NormedConv(nn.Conv2d):
    """A convolution with a batch norm behind it, as towers of timm have them."""

    def __init__(self) -> None:
        super().__init__(3, 16, 8, stride=8, bias=False)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(super().forward(x))


def test_statistics_of_a_frozen_batch_norm_stay_and_are_what_training_sees(tmp_path):
    model = llava()
    (embeddings,) = [m for m in model.modules() if hasattr(m, "patch_embedding")]
    conv = NormedConv()
    with torch.no_grad():
        conv.norm.running_mean.fill_(0.3)
        conv.norm.running_var.fill_(2.0)
    embeddings.patch_embedding = conv
    before = {name: value.clone() for name, value in conv.named_buffers()}
    data = pictures((3, 16, 16), 4)
    hydra = hydra_of(model, policy="uniform")
    trainer(model, tmp_path, [HydraCallback(hydra)], data=data).train()
    for name, value in conv.named_buffers():
        assert torch.equal(value, before[name]), name
    model.train()
    x = data[0]["pixel_values"][None]
    seen = conv(x)
    model.eval()
    torch.testing.assert_close(conv(x), seen, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("make", "shape", "tokens", "tower"),
    [
        (llava, (3, 16, 16), 4, "model.vision_tower"),
        (smolvlm, (1, 3, 16, 16), 1, "model.vision_model"),
    ],
)
def test_ranks_move_in_a_vision_language_model(make, shape, tokens, tower, tmp_path):
    data = pictures(shape, tokens)
    model = make()
    hydra = hydra_of(model, targets=".*(language|text)_model.*_proj")
    assert {layer_of(n).rpartition(".")[2] for n in hydra.rank_map} == {"0", "1", "2"}
    assert all(".layers." in layer_of(n) for n in hydra.rank_map)
    ledger = Ledger(hydra)
    trainer(model, tmp_path, [HydraCallback(hydra), ledger], data=data).train()

    before, after = ledger.values[3], ledger.values[4]
    assert len(set(hydra.rank_map.values())) > 1
    # The map came after step 4; what the ledger saw there is already resized.
    assert {n: len(v) for n, v in before.items()} == {n: len(v) for n, v in after.items()}
    assert all(not torch.equal(before[n], after[n]) for n in before if "lora_B" in n)
    two_later = ledger.values[5]
    assert all(not torch.equal(before[n], two_later[n]) for n in before)
    assert max(ledger.counts) <= hydra.budget.reference
    assert not [n for n in lora_layers(model) if n.startswith((tower, "model.connector"))]

    hydra.save(tmp_path / "adapter", base_name="tiny")
    loaded = PeftModel.from_pretrained(make(), tmp_path / "adapter").eval()
    batch = batches(data)[0]
    with torch.no_grad():
        theirs, ours = loaded(**batch).logits, model.eval()(**batch).logits
        plain = make().eval()(**batch).logits
    assert torch.allclose(theirs, ours, atol=1e-5)
    assert not torch.allclose(plain, ours, atol=1e-3)


def test_growing_leaves_the_function_as_it_was(tmp_path):
    model = llama()
    hydra = hydra_of(model)
    batch = batches(texts())[0]
    seen = {}

    class Look(TrainerCallback):
        def __init__(self, key):
            self.key = key

        def on_step_end(self, args, state, control, model, **given):
            if state.global_step == 4:
                model.eval()
                with torch.no_grad():
                    seen[self.key] = (model(**batch).logits, hydra.rank_map)
                model.train()

    # A larger budget, so that half of the modules can grow and none has to shrink.
    hydra.budget = Budget(hydra.budget.cost, 8)
    target = RankMap({n: 4 + 3 * (i % 2) for i, n in enumerate(hydra.rank_map)})
    hydra.allocate = lambda importance: target
    trainer(model, tmp_path, [Look("before"), HydraCallback(hydra), Look("after")]).train()
    (before, old), (after, new) = seen["before"], seen["after"]
    assert set(old.values()) == {4}
    assert new == target
    assert torch.allclose(before, after, atol=1e-6)


def test_accumulated_micro_batches_count_as_much_as_whole_ones(tmp_path):
    # All rows are one row, so a micro-batch of half the size has the same mean gradient.
    data = texts(1) * 32
    found = []
    for accumulation, size in ((1, 2), (2, 1)):
        model = llama()
        hydra = hydra_of(
            model,
            policy="coarse_fine_per_cost",
            dynamic=DynamicConfig(target="paired_probe", warmup=0.34, every=1.0),
            calibration_batches=32,
        )
        allocate, seen = hydra.allocate, {}

        def spy(scores, seen=seen, allocate=allocate):
            seen.update(scores)
            return allocate(scores)

        hydra.allocate = spy
        more = {"gradient_accumulation_steps": accumulation, "per_device_train_batch_size": size}
        trainer(model, tmp_path, [HydraCallback(hydra)], data=data, max_steps=6, **more).train()
        reason = RankHistory.of_run(tmp_path).read()[-1].reason
        assert f"gradients of {2 * accumulation} micro-batches" in reason
        found.append(seen)
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_the_learned_update_serves_as_importance(tmp_path):
    model = llama()
    hydra = hydra_of(model, policy="coarse_fine_per_cost", importance="update")
    trainer(model, tmp_path, [HydraCallback(hydra)], max_steps=6).train()
    events = RankHistory.of_run(tmp_path).read()
    assert [event.event for event in events] == ["initial", "allocate"]
    assert "warm-up" in events[-1].reason
    assert len(set(hydra.rank_map.values())) > 1
    with pytest.raises(ConfigError, match="gradient, update"):
        hydra_of(llama(), importance="warmup")


def test_uniform_is_the_trainer_with_peft_lora_bit_for_bit(tmp_path):
    ours = llama()
    hydra = hydra_of(ours, policy="uniform", dropout=0.1, seed=7)
    trainer(ours, tmp_path / "ours", [HydraCallback(hydra)]).train()

    base = llama()
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=list(hydra.rank_map), lora_dropout=0.1, bias="none"
    )
    theirs = get_peft_model(base, config)
    with torch.no_grad():
        for name, layer in lora_layers(base).items():
            a = layer.lora_A["default"].weight
            a.copy_(initial_a(name, 4, a.shape[1], 7))
    trainer(theirs, tmp_path / "theirs", []).train()
    assert_same(state_of(ours), state_of(base))


def test_gradient_checkpointing_measures_the_same(tmp_path):
    maps = []
    for checkpointing in (False, True):
        model = llama()
        hydra = hydra_of(model, policy="coarse_fine_per_cost")
        trainer(
            model,
            tmp_path / str(checkpointing),
            [HydraCallback(hydra)],
            gradient_checkpointing=checkpointing,
        ).train()
        maps.append(hydra.rank_map)
    assert maps[0] == maps[1]
    assert len(set(maps[0].values())) > 1


# -- the dynamic stage ------------------------------------------------------------------------

PROBES = DynamicConfig(
    target="paired_probe",
    warmup=0.34,
    every=0.17,
    until=0.7,
    probe_steps=2,
    candidates=1,
    probe_share=3.0,
)


def run_with_probes(folder: Path, **more) -> tuple[Hydra, HydraCallback, Ledger]:
    model = llama()
    hydra = hydra_of(model, dynamic=PROBES, dropout=0.1, **more)
    data = batches(texts())
    callback = HydraCallback(hydra, probe_batches=data[8:12], held_out=data[20:22])
    ledger = Ledger(hydra)
    trainer(model, folder, [callback, ledger]).train()
    return hydra, callback, ledger


def test_probes_that_change_nothing_leave_the_run_bit_identical(tmp_path):
    probed, callback, _ = run_with_probes(tmp_path / "probed")
    plain = llama()
    other = hydra_of(plain, policy="coarse_fine_per_cost", dynamic=PROBES, dropout=0.1)
    trainer(plain, tmp_path / "plain", [HydraCallback(other)]).train()
    events = RankHistory.of_run(tmp_path / "probed").read()
    assert [e.event for e in events if e.event in ("observe", "abstain")] == [
        *("observe", "abstain") * 3
    ]
    # Both halves of a pair are probed.
    assert callback.controller.spent_steps == 3 * 2 * 2
    assert_same(state_of(probed.model), state_of(plain))


def test_a_move_goes_through_model_and_optimizer(tmp_path, monkeypatch):
    class Sure:
        class gate:
            passed = True
            reason = ""
            observations, spearman = 12, 0.9
            mlp_error = ridge_error = constant_error = 0.1

        @staticmethod
        def predict(before, after, progress):
            return [Prediction(0.1, 0.01, 0.05) for _ in after]

    monkeypatch.setattr(controller_module, "fit", lambda observations, seed: Sure)
    hydra, _, ledger = run_with_probes(tmp_path)
    events = RankHistory.of_run(tmp_path).read()
    moves = [e for e in events if e.event == "move"]
    assert moves
    assert moves[-1].digest == hydra.rank_map.digest()
    assert max(ledger.counts) <= hydra.budget.reference


@pytest.mark.parametrize("compensate", ["neither", "both"])
def test_trailing_directions_move_under_the_trainer(tmp_path, compensate):
    # At this margin every event moves.
    moving = DynamicConfig(events=(0.34, 0.6), margin=1, least_steps=0)
    hydra = hydra_of(llama(), dynamic=moving, compensate=compensate)
    ledger = Ledger(hydra)
    trainer(hydra.model, tmp_path, [HydraCallback(hydra), ledger]).train()
    events = RankHistory.of_run(tmp_path).read()
    assert [e.event for e in events].count("move") == 2
    assert max(ledger.counts) <= hydra.budget.reference
    power = {"neither": 0, "both": 3}[compensate]
    for name, layer in lora_layers(hydra.model).items():
        assert layer.scaling["default"] == pytest.approx(2 * (4 / hydra.rank_map[name]) ** power)
    hydra.save(tmp_path / "adapter")


def test_without_batches_the_dynamic_stage_abstains_and_says_so_once(tmp_path, caplog):
    model = llama()
    hydra = hydra_of(model)
    with caplog.at_level("WARNING", logger="hydra_mobile"):
        trainer(model, tmp_path, [HydraCallback(hydra)]).train()
    assert len([r for r in caplog.records if "ranks stay" in r.message]) == 1
    kinds = [e.event for e in RankHistory.of_run(tmp_path).read()]
    assert kinds == ["initial", "abstain", "allocate", "freeze"] or kinds == [
        "initial",
        "abstain",
        "allocate",
    ]


def test_one_kind_of_batches_is_refused():
    with pytest.raises(ConfigError, match="only one"):
        HydraCallback(hydra_of(llama()), probe_batches=[{}])


# -- checkpoints ------------------------------------------------------------------------------


def run_with_checkpoints(folder: Path, resume: Path | None) -> tuple[Hydra, HydraCallback]:
    model = llama()
    if resume:
        hydra = Hydra.from_checkpoint(model, resume)
    else:
        hydra = hydra_of(model, dynamic=PROBES, dropout=0.1)
    data = batches(texts())
    callback = HydraCallback(hydra, probe_batches=data[8:12], held_out=data[20:22])
    made = trainer(model, folder, [callback], save_strategy="steps", save_steps=1)
    made.train(resume_from_checkpoint=str(resume) if resume else None)
    return hydra, callback


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, *run_with_checkpoints(folder, None)


@pytest.mark.parametrize("at", [3, 4, 6, 9])  # before, at, at a later and after the last event
def test_a_resumed_run_equals_the_uninterrupted_one(at, whole, tmp_path):
    folder, hydra, first = whole
    copy = shutil.copytree(folder, tmp_path / "run")
    resumed, second = run_with_checkpoints(copy, copy / f"checkpoint-{at}")
    assert_same(state_of(hydra.model), state_of(resumed.model))
    timeless = [
        {k: v for k, v in callback.controller.state().items() if "seconds" not in k}
        for callback in (first, second)
    ]
    assert timeless[0] == timeless[1]
    histories = [RankHistory.of_run(run).read() for run in (folder, copy)]
    events = [[(e.step, e.event, e.digest) for e in history] for history in histories]
    assert events[0] == events[1]


def test_any_checkpoint_becomes_an_adapter(whole, tmp_path):
    folder, _, _ = whole
    hydra = Hydra.from_checkpoint(llama(), folder / "checkpoint-8")
    hydra.save(tmp_path / "adapter")
    assert read_adapter(tmp_path / "adapter").rank_map == hydra.rank_map
    with pytest.raises(HydraError, match="never allocated"):
        Hydra.from_checkpoint(llama(), folder / "checkpoint-3").save(tmp_path / "adapter")


LATER = DynamicConfig(target="paired_probe", warmup=0.67, until=0.67)


def test_a_llava_checkpoint_resumes_in_the_warm_up(tmp_path):
    def run(model: nn.Module, hydra: Hydra, resume: str | None) -> None:
        data = pictures((3, 16, 16), 4)
        more = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6, "data": data}
        made = trainer(model, tmp_path, [HydraCallback(hydra)], **more)
        made.train(resume_from_checkpoint=resume)

    model = llava()
    run(model, hydra_of(model, targets="all-linear", dynamic=LATER, calibration_batches=8), None)
    folder = tmp_path / "checkpoint-3"
    state = json.loads((folder / "hydra_state.json").read_text())
    # Pictures are seen in the model's inputs.
    assert state["progress"]["watching"]["counts"] == {"image": 3}
    again = llava()
    hydra = hydra_of(again, targets="all-linear", dynamic=LATER, calibration_batches=8)
    hydra.restore(folder)
    run(again, hydra, str(folder))
    assert_same(state_of(model), state_of(again))


def test_resuming_without_restoring_is_refused(tmp_path):
    model = llama()
    hydra = hydra_of(model)
    more = {"save_strategy": "steps", "save_steps": 3}
    trainer(model, tmp_path, [HydraCallback(hydra)], **more).train()
    fresh = llama()
    made = trainer(fresh, tmp_path, [HydraCallback(hydra_of(fresh))], **more)
    with pytest.raises(HydraError, match="restore"):
        made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    with pytest.raises(ArtifactError, match="seed"):
        hydra_of(llama(), seed=1).restore(tmp_path / "checkpoint-3")


# -- refusals ---------------------------------------------------------------------------------


def test_saving_is_refused_where_the_callback_never_ran(tmp_path):
    model = llama()
    hydra = hydra_of(model)
    trainer(model, tmp_path, [], max_steps=2).train()
    with pytest.raises(HydraError, match="callback"):
        hydra.save(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    hydra.save(tmp_path / "adapter", even_if_uniform=True)


def test_another_model_than_the_trainers_is_refused(tmp_path):
    hydra = hydra_of(llama())
    with pytest.raises(HydraError, match="model"):
        trainer(llama(), tmp_path, [HydraCallback(hydra)]).train()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"optim": "adafactor"}, "cannot move|could not be tried"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size"),
        (
            {
                "load_best_model_at_end": True,
                "eval_strategy": "no",
                "save_strategy": "no",
            },
            "best checkpoint",
        ),
        ({"max_steps": 1}, "too short"),
    ],
)
def test_what_cannot_move_is_refused_before_the_first_step(setting, message, tmp_path):
    model = llama()
    start = hydra_of(model)
    before = state_of(model)
    with pytest.raises(HydraError, match=message):
        trainer(model, tmp_path, [HydraCallback(start)], **setting).train()
    assert_same(before, state_of(model))


def test_sgd_moves_and_adafactor_trains_ranks_known_from_the_start(tmp_path):
    model = llama()
    hydra = hydra_of(model)
    trainer(model, tmp_path / "sgd", [HydraCallback(hydra)], optim="sgd").train()
    assert len(set(hydra.rank_map.values())) > 1
    other = llama()
    scores = {name: float(i + 1) for i, name in enumerate(hydra.rank_map)}
    fixed = hydra_of(other, policy="coarse_fine_per_cost", importance=scores)
    ranks = fixed.rank_map
    assert len(set(ranks.values())) > 1
    trainer(other, tmp_path / "ada", [HydraCallback(fixed)], optim="adafactor").train()
    assert fixed.rank_map == ranks
    fixed.save(tmp_path / "adapter")


def test_several_processes_are_refused_only_where_ranks_move():
    from hydra_mobile.adapters.integrations.trainer_checks import require_movable

    class Args:
        world_size, n_gpu = 2, 1
        torch_compile = fp16 = auto_find_batch_size = load_best_model_at_end = False

    with pytest.raises(HydraError, match="2 processes"):
        require_movable(Args(), torch.optim.SGD([nn.Parameter(torch.ones(1))]))


TWO_PROCESSES = """
import hashlib, sys
from pathlib import Path
from trainer_models import LAYERS, llama, trainer
from hydra_mobile.adapters import Hydra, HydraCallback
from hydra_mobile.adapters.lora import lora_parameters
from hydra_mobile.core.errors import HydraError

folder = Path(sys.argv[1])
model = llama()
hydra = Hydra(model, r_ref=4, alpha_ref=8, targets=LAYERS)
made = trainer(model, folder / "moving", [HydraCallback(hydra)], ddp_backend="gloo")
try:
    made.train()
    refused = False
except HydraError:
    refused = True
scores = {name: float(i + 1) for i, name in enumerate(hydra.rank_map)}
model = llama()
hydra = Hydra(model, r_ref=4, alpha_ref=8, targets=LAYERS, importance=scores)
made = trainer(model, folder / "given", [HydraCallback(hydra)], ddp_backend="gloo")
made.train()
tensors = b"".join(p.detach().numpy().tobytes() for p in lora_parameters(model).values())
result = f"{refused} {len(set(hydra.rank_map.values()))} {hashlib.sha256(tensors).hexdigest()}"
(folder / f"result-{made.args.process_index}").write_text(result)
"""


@pytest.mark.slow
def test_two_processes_train_given_ranks_alike_and_refuse_moving_ones(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    here = str(Path(__file__).parents[1] / "support")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    subprocess.run(
        [*run, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    results = [(tmp_path / f"result-{i}").read_text() for i in range(2)]
    assert results[0] == results[1]
    refused, ranks, _ = results[0].split()
    assert refused == "True"
    assert int(ranks) > 1


# -- targets ----------------------------------------------------------------------------------


def test_all_linear_leaves_tower_projector_and_head_alone():
    hydra = hydra_of(llava(), targets="all-linear")
    assert len(hydra.rank_map) == 3 * 7
    assert all(n.startswith("model.language_model.layers.") for n in hydra.rank_map)
    assert not any(p.requires_grad for n, p in hydra.model.named_parameters() if "lora" not in n)


@pytest.mark.parametrize(
    ("targets", "message"),
    [("q_proj", "matches none"), ("(", "regular expression"), (["lm_hed"], "lm_head")],
)
def test_targets_that_name_nothing_are_refused(targets, message):
    with pytest.raises(ConfigError, match=message):
        hydra_of(llama(), targets=targets)


def test_the_base_hash_ignores_lora_and_sees_weights():
    from hydra_mobile.adapters.lora import weights_sha256

    model = llama()
    bare = weights_sha256(model)
    hydra_of(model)
    assert weights_sha256(model) == bare
    with torch.no_grad():
        model.model.norm.weight[0] += 1
    assert weights_sha256(model) != bare


def test_importing_the_names_is_lazy():
    import hydra_mobile.adapters as package

    assert package.Hydra is Hydra
    with pytest.raises(AttributeError):
        _ = package.Hydrant
