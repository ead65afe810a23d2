"""The dynamic stage inside a whole training run, on base `tiny`."""

from __future__ import annotations

import json

import pytest
import torch

from hydra_mobile.adapters.dynamic.data import Prediction
from hydra_mobile.adapters.dynamic.probe_controller import ProbeController
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.lora import lora_parameters
from hydra_mobile.config import load_config
from hydra_mobile.core.files import sha256_of
from hydra_mobile.runtimes.model_ref import model_at
from hydra_mobile.training import run as run_module
from hydra_mobile.training.run import TrainingRun
from hydra_mobile.training.strategies import lora as lora_strategy

DYNAMIC = [
    "ranks.dynamic.target=paired_probe",
    "data.stage1=",
    "stage2.steps=20",
    "ranks.dropout=0.1",
    "ranks.dynamic.probe_steps=2",
    "ranks.dynamic.candidates=1",
    "ranks.dynamic.probe_share=10",
    "ranks.dynamic.every=0.2",
    "ranks.dynamic.holdout_batches=2",
]


def train(settings, *more, resume=False):
    return TrainingRun(load_config(None, [*settings, *DYNAMIC, *more])).train(resume)


def hashes(adapter):
    return {file.name: sha256_of(file) for file in adapter.iterdir()}


def events(run, kind):
    return [e for e in RankHistory.of_run(run).read() if e.event == kind]


@pytest.fixture
def eager(monkeypatch):
    """A controller that makes the first possible move at every second event."""

    def choose(self, model, moves, progress):
        every_second = round(progress * self._schedule.steps) % 8 < 4
        said = Prediction(gain=2e-3, spread=1e-4, lower=1e-3)
        return (moves[0] if every_second and moves else None), said

    monkeypatch.setattr(ProbeController, "_choose", choose)


@pytest.fixture(scope="module")
def probed(run_settings, tmp_path_factory):
    """The run folder of a run whose probes are all thrown away."""
    return train(run_settings(tmp_path_factory.mktemp("probed") / "run")).parent


def test_probes_leave_no_trace_in_the_weights(probed, run_settings, tmp_path):
    # Same data, same random stream (dropout is on): a probe that is thrown away changes nothing.
    silent = train(run_settings(tmp_path / "silent"), "ranks.dynamic.probe_share=0")
    assert events(probed, "observe")
    assert not events(tmp_path / "silent", "observe")
    assert hashes(probed / "adapter") == hashes(silent)


def test_a_probe_is_paid_for_and_its_price_is_recorded(probed):
    observed = events(probed, "observe")
    summary = json.loads((probed / "summary.json").read_text())
    assert summary["probes"]["probe_steps"] == sum(e.probe["steps"] for e in observed) == 8
    assert summary["probes"]["probe_seconds"] > 0
    for event in observed:
        losses = event.realised
        assert losses["gain"] == losses["held_out_before"] - losses["held_out_after"]


@pytest.mark.slow
def test_without_twelve_observations_every_event_abstains(probed):
    abstained = events(probed, "abstain")
    assert [e.step for e in abstained] == [2, 6, 10, 14]
    assert not events(probed, "move")
    assert all(e.reason.startswith("ranks stay") for e in abstained)
    assert [e.step for e in events(probed, "freeze")] == [14]


@pytest.mark.slow
def test_moves_are_made_measured_and_within_the_budget(run_settings, tmp_path, eager, monkeypatch):
    counts = []
    real = run_module.train_step

    def counted(model, objective, optimizer, *rest):
        result = real(model, objective, optimizer, *rest)
        lora = lora_parameters(model)
        live = {id(p) for p in lora.values()}
        held = {id(p) for p in optimizer.inner.param_groups[0]["params"]}
        assert live == held
        moments = [optimizer.inner.state[p]["exp_avg_sq"].numel() for p in lora.values()]
        assert sum(moments) == sum(p.numel() for p in lora.values())
        counts.append(sum(moments))
        return result

    monkeypatch.setattr(run_module, "train_step", counted)
    monkeypatch.setattr(lora_strategy, "train_step", counted)
    adapter = train(run_settings(tmp_path / "run"))
    moved = events(tmp_path / "run", "move")
    assert [e.step for e in moved] == [2, 10]
    reference = moved[0].reference
    assert len(counts) == 20 + 8
    assert max(counts) <= reference
    made = [e for e in events(tmp_path / "run", "observe") if e.realised["made"]]
    assert [e.step for e in made] == [4, 12]
    final = RankHistory.of_run(tmp_path / "run").final_map()
    record = json.loads((adapter / "hydra.json").read_text())
    assert record["ranks"] == dict(final)
    assert json.loads((tmp_path / "run" / "rank_map.json").read_text())["ranks"] == dict(final)


# A dozen resumed runs each. One interruption every day: tests/contracts/test_strategies.py.
@pytest.mark.slow
@pytest.mark.parametrize("shrink", ["index", "svd"])
def test_interrupted_in_steps_and_probes(run_settings, tmp_path, eager, monkeypatch, shrink):
    least = 3
    reference = train(run_settings(tmp_path / "whole"), f"ranks.shrink={shrink}")
    real = run_module.train_step
    budget = {"steps": least}

    def limited(*args):
        # Sometimes before the step, sometimes after it, so every kind of place is hit.
        if budget["steps"] == 0:
            raise KeyboardInterrupt
        budget["steps"] -= 1
        return real(*args)

    monkeypatch.setattr(run_module, "train_step", limited)
    monkeypatch.setattr(lora_strategy, "train_step", limited)
    settings = [*run_settings(tmp_path / "run"), f"ranks.shrink={shrink}"]
    interrupted = 0
    for attempt in range(60):
        budget["steps"] = least + attempt % 4
        try:
            adapter = train(settings, "runtime.checkpoint_every=1", resume=attempt > 0)
            break
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted > 16 / least
    assert hashes(adapter) == hashes(reference)
    whole, pieces = (RankHistory.of_run(tmp_path / name).read() for name in ("whole", "run"))
    assert [(e.step, e.event, e.digest) for e in whole] == [
        (e.step, e.event, e.digest) for e in pieces
    ]
    assert [e.realised for e in whole] == [e.realised for e in pieces]


def test_a_probe_that_diverges_is_left_out(run_settings, tmp_path, monkeypatch):
    real = lora_strategy.train_step

    def diverging(*args):
        if args[5] > 5:
            raise lora_strategy.LossNotFinite("The loss became nan.")
        return real(*args)

    monkeypatch.setattr(lora_strategy, "train_step", diverging)
    train(run_settings(tmp_path / "run"))
    observed = events(tmp_path / "run", "observe")
    assert [e.realised is None for e in observed] == [False, True, True, True]


@pytest.mark.slow  # three runs
def test_replay_gives_the_recorded_ranks_at_the_recorded_steps(run_settings, tmp_path, eager):
    train(run_settings(tmp_path / "run"))
    recorded = RankHistory.of_run(tmp_path / "run").maps()
    file = tmp_path / "run" / "ranks.jsonl"
    first = train(run_settings(tmp_path / "again"), "ranks.policy=replay", f"ranks.map_file={file}")
    assert RankHistory.of_run(tmp_path / "again").maps() == recorded
    # The same ranks at the same steps from the same seeds: the same weights.
    assert hashes(first) == hashes(tmp_path / "run" / "adapter")
    final = train(run_settings(tmp_path / "last"), "ranks.policy=fixed", f"ranks.map_file={file}")
    assert json.loads((final / "hydra.json").read_text())["ranks"] == dict(recorded[-1][1])


@pytest.mark.slow
def test_passive_observes_without_a_single_extra_step(run_settings, tmp_path):
    train(run_settings(tmp_path / "run"), "ranks.dynamic.target=passive")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["probes"]["probe_steps"] == 0
    assert len(events(tmp_path / "run", "abstain")) == 4


@pytest.mark.parametrize("importance", ["update", "calibration"])
def test_other_sources_of_importance(run_settings, tmp_path, importance):
    more = ("ranks.policy=coarse_fine_per_cost", f"ranks.importance={importance}", "stage2.steps=4")
    train(run_settings(tmp_path / "run"), *more)
    history = RankHistory.of_run(tmp_path / "run")
    kinds = [e.event for e in history.read()]
    assert kinds == (["initial", "allocate"] if importance == "update" else ["initial"])
    assert len(set(history.final_map().values())) > 1


def other_source(importance):
    more = ("ranks.policy=coarse_fine_per_cost", f"ranks.importance={importance}", "stage2.steps=5")
    return (*more, "ranks.dynamic.warmup=0.4", "runtime.checkpoint_every=1")


@pytest.fixture(scope="module", params=["update", "calibration"])
def uninterrupted(request, run_settings, tmp_path_factory):
    """Where importance comes from, and the adapter of a run that nothing interrupted."""
    settings = run_settings(tmp_path_factory.mktemp("whole") / "run")
    return request.param, train(settings, *other_source(request.param))


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 3])  # in the warm-up and after it
def test_other_sources_of_importance_resume(uninterrupted, run_settings, tmp_path, at, monkeypatch):
    importance, whole = uninterrupted
    more = other_source(importance)
    real = run_module.train_step

    def stop(*given):
        if given[5] == at:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "train_step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(run_settings(tmp_path / "run"), *more)
    assert hashes(train(run_settings(tmp_path / "run"), *more, resume=True)) == hashes(whole)


@pytest.mark.slow
def test_a_run_too_short_for_events_resumes_before_its_result(run_settings, tmp_path, monkeypatch):
    def killed(*given, **more):
        raise KeyboardInterrupt

    settings = run_settings(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "save_adapter", killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings, "stage2.steps=1")
    adapter = train(settings, "stage2.steps=1", resume=True)
    assert hashes(adapter) == hashes(train(run_settings(tmp_path / "whole"), "stage2.steps=1"))


@pytest.mark.slow
def test_full_fine_tuning_leaves_a_model_that_loads(run_settings, tmp_path):
    from hydra_mobile.models.loading import load_model

    merged = train(run_settings(tmp_path / "run"), "ranks.policy=full", "stage2.steps=3")
    assert merged.name == "merged"
    assert model_at(str(tmp_path / "run")).kind == "merged"
    model = load_model(merged)
    assert model.language_model.config.vocab_size > 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    language_model = sum(p.numel() for p in model.language_model.parameters())
    assert summary["parameters"]["language_model"] == language_model


def test_switched_off_it_is_plain_peft_lora_bit_for_bit(run_settings, tmp_path):
    """Ablation: uniform ranks in our loop against peft's own layers in a plain loop."""
    from peft import LoraConfig, inject_adapter_in_model
    from safetensors.torch import load_file

    from hydra_mobile.adapters.lora import initial_a
    from hydra_mobile.training.adapted_modules import adapted_modules
    from hydra_mobile.training.batch_stream import BatchStream
    from hydra_mobile.training.optimizer import learning_rate_factor

    more = ("ranks.policy=uniform", "ranks.dropout=0.1", "stage2.accumulation=2")
    more += ("stage2.loss_reduction=micro_batches", "stage2.steps=6")
    adapter = train(run_settings(tmp_path / "run"), *more)
    ours = load_file(adapter / "adapter_model.safetensors")

    config = load_config(None, [*run_settings(tmp_path / "plain"), *DYNAMIC, *more])
    run = TrainingRun(config)
    setup = run.prepare()
    model = setup.model
    names = adapted_modules(model)
    torch.manual_seed(config.seed)
    state = torch.get_rng_state()
    settings = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.1, target_modules=names)
    inject_adapter_in_model(settings, model)
    torch.set_rng_state(state)
    model.requires_grad_(False)
    model.projector.requires_grad_(True)
    lora = {n: p for n, p in model.named_parameters() if "lora_" in n}
    with torch.no_grad():
        for name, parameter in lora.items():
            parameter.requires_grad_(True)
            if "lora_A" in name:
                module = name.split(".lora_A")[0]
                parameter.copy_(initial_a(module, 8, parameter.shape[1], config.seed))
    stage = config.stage2
    optimizer = torch.optim.AdamW(
        [{"params": list(lora.values())}, {"params": list(model.projector.parameters())}],
        lr=stage.learning_rate,
        weight_decay=stage.weight_decay,
        fused=True,
    )
    stream = BatchStream(run.data.rows["stage2"], stage, config.seed)
    model.train()
    for step in range(stream.steps):
        for rows in stream.step_rows(step):
            (run.data.objective("stage2")(model, rows) / stage.accumulation).backward()
        torch.nn.utils.clip_grad_norm_(
            [p for group in optimizer.param_groups for p in group["params"]], stage.clip
        )
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * learning_rate_factor(
                step, stream.steps, stage.warmup
            )
        optimizer.step()
        optimizer.zero_grad()
    for name, parameter in lora.items():
        key = f"base_model.model.{name.replace('.default', '')}"
        # Uniform ranks: the factor folded into B is one.
        assert torch.equal(parameter.detach(), ours[key]), name
