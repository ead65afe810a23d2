"""Validation during a run: its losses, its best step, its end, its trackers."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hydra_mobile.api.run import Run
from hydra_mobile.config import load_config
from hydra_mobile.core.errors import ConfigError, HydraError
from hydra_mobile.training.loop import LossNotFinite
from hydra_mobile.training.run import TrainingRun
from hydra_mobile.training.run_folder import RunFolder
from hydra_mobile.training.validation import Validation

SHORT = [
    "data.stage1=",
    "stage2.steps=6",
    "runtime.evaluate_every=2",
    "runtime.checkpoint_every=3",
    "runtime.sample_answers=2",
    "runtime.threads=1",
]
#: So high a rate that the held-out loss rises soon.
WILD = [
    "stage2.learning_rate=3.0",
    "stage2.clip=0",
    "stage2.steps=12",
    "stage2.warmup=0.2",
    "seed=1",
]


def train(settings: list[str], *more: str, resume: bool = False) -> tuple[Run, list[str]]:
    config = load_config(None, [*settings, *SHORT, *more])
    said: list[str] = []
    TrainingRun(config, said.append).train(resume)
    return Run.open(config.output), said


def adapter(run: Run) -> dict[str, np.ndarray]:
    return load_file(run.path / "adapter" / "adapter_model.safetensors")


def held_out(run: Run) -> dict[int, float]:
    return {m["step"]: m["validation_loss"] for m in run.metrics if "validation_loss" in m}


def test_a_share_is_held_out_and_answered(run_settings, tmp_path, shapes_data):
    run, _ = train(run_settings(tmp_path / "run"), "data.validation=0.25")
    assert list(held_out(run)) == [2, 4, 6]
    samples = [json.loads(line) for line in (run.path / "samples.jsonl").open()]
    assert [s["step"] for s in samples] == [s for s in (2, 4, 6) for _ in range(2)]
    first = samples[0]
    assert first["question"].strip()
    assert Path(first["image"]).parent == shapes_data
    assert {"expected", "answer"} <= set(first)
    best = min(held_out(run).items(), key=lambda item: item[1])
    assert run.summary["validation"]["best_step"] == best[0]
    assert run.summary["validation"]["best_loss"] == best[1]


def test_a_held_out_loss_that_is_no_number_ends_the_run(run_settings, tmp_path, monkeypatch):
    """Overflow on held-out records alone cannot be had from the tiny base."""
    losses = iter([5.0, float("nan")])
    monkeypatch.setattr(Validation, "loss", lambda self, model: next(losses))
    settings = run_settings(tmp_path / "run")
    with pytest.raises(LossNotFinite, match="held-out loss became nan at step 4"):
        train(settings, "data.validation=0.25")
    monkeypatch.undo()
    run, _ = train(settings, "data.validation=0.25", resume=True)
    assert list(held_out(run)) == [2, 4, 6]


def test_validation_changes_no_step(run_settings, tmp_path, shapes_data):
    """With a file of its own: the rows that train are those of a run without."""
    file = f"data.validation={shapes_data / 'captions.json'}"
    with_it, _ = train(run_settings(tmp_path / "with"), file)
    without, _ = train(run_settings(tmp_path / "without"))
    losses = [[m["loss"] for m in run.metrics] for run in (with_it, without)]
    assert losses[0] == losses[1]


def test_the_best_step_is_the_result_and_training_ends_early(run_settings, tmp_path):
    wild = [*WILD, "data.validation=0.25", "runtime.early_stopping=2"]
    run, said = train(run_settings(tmp_path / "run"), *wild)
    losses = held_out(run)
    best = min(losses, key=lambda step: losses[step])
    last = max(losses)
    assert last == best + 4 < 12
    assert run.summary["validation"]["stopped"]
    assert any(f"step {best}" in line and "best" in line for line in said)
    folder = run.path / "best" / f"{best:07d}"
    kept = load_file(folder / "state.safetensors")
    # Of the two factors only B carries the scale of its rank.
    factors = {name: value for name, value in adapter(run).items() if "lora_A" in name}
    assert factors
    for name, value in factors.items():
        assert any(v.shape == value.shape and (v == value).all() for v in kept.values()), name
    # A run that ends at the best step has the same adapter.
    again, _ = train(run_settings(tmp_path / "again"), *wild, f"runtime.evaluate_every={best}")
    assert held_out(again)[best] == losses[best]


@pytest.mark.parametrize("at", [3, pytest.param(6, marks=pytest.mark.slow)])
def test_resumed_it_ends_with_the_same_adapter_best_step_and_tracker(run_settings, tmp_path, at):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    more = [*WILD, "data.validation=0.25", "runtime.trackers=[tensorboard]"]
    whole, _ = train(run_settings(tmp_path / "whole"), *more)
    run = tmp_path / "run"

    class Killed(BaseException):
        pass

    def kill(line: str) -> None:
        # Behind the validation, before the checkpoint of a later step.
        if line.startswith(f"step {at + at % 2}:"):
            raise Killed

    config = load_config(None, [*run_settings(run), *SHORT, *more])
    with pytest.raises(Killed):
        TrainingRun(config, kill).train()
    resumed, _ = train(run_settings(run), *more, resume=True)
    assert held_out(resumed) == held_out(whole)
    assert resumed.summary["validation"] == whole.summary["validation"]
    mine, other = adapter(resumed), adapter(whole)
    assert all((mine[name] == other[name]).all() for name in other)
    assert [f.name for f in (run / "best").iterdir()] == [
        f.name for f in (whole.path / "best").iterdir()
    ]
    events = EventAccumulator(str(run / "trackers" / "tensorboard"))
    events.Reload()
    for name, key in (("stage2/loss", "loss"), ("stage2/validation_loss", "validation_loss")):
        read = {event.step: event.value for event in events.Scalars(name)}
        logged = {m["step"]: m[key] for m in whole.metrics if key in m}
        assert read.keys() == logged.keys()
        np.testing.assert_allclose(list(read.values()), list(logged.values()), rtol=1e-6)


def test_a_share_changes_what_trains_so_a_run_cannot_be_resumed_with_another(
    run_settings, tmp_path
):
    run, _ = train(run_settings(tmp_path / "run"), "data.validation=0.25")
    shutil.rmtree(run.path / "adapter")
    (run.path / "summary.json").unlink()
    with pytest.raises(ConfigError, match="validation"):
        train(run_settings(tmp_path / "run"), "data.validation=0.5", resume=True)
    assert RunFolder(run.config, 1).checkpoint() is not None


TRACKIO = """
import types
config = types.SimpleNamespace(update=lambda *a, **k: None)
class Run:
    def log(self, values, step):
        if step == 2:
            raise SystemExit("no account")
    def finish(self):
        raise ValueError("closed twice")
def init(**_):
    return Run()
"""


def tracker(folder: Path, monkeypatch, text: str | None) -> None:
    """Put a package `trackio` on the path; None: the folder that a tracker leaves behind."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    (folder / "trackio").mkdir()
    if text is not None:
        (folder / "trackio" / "__init__.py").write_text(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "trackio.*not installed"),
        ("raise RuntimeError('no wheel for this')", "trackio.*no wheel for this"),
        ("raise SystemExit(1)", "trackio.*cannot start"),
        ("init = None", "trackio.*cannot start"),
    ],
)
def test_a_tracker_that_cannot_start_is_named(run_settings, tmp_path, monkeypatch, text, found):
    tracker(tmp_path, monkeypatch, text)
    with pytest.raises(HydraError, match=f"(?s){found}"):
        train(run_settings(tmp_path / "run"), "runtime.trackers=[trackio]")


def test_a_tracker_that_ends_meanwhile_ends_no_training(run_settings, tmp_path, monkeypatch):
    tracker(tmp_path, monkeypatch, TRACKIO)
    # Validated at the last step alone, and never for so long that it would end early.
    more = ["runtime.evaluate_every=1000000", "runtime.early_stopping=1", "data.validation=0.25"]
    run, said = train(run_settings(tmp_path / "run"), "runtime.trackers=[trackio]", *more)
    assert run.finished
    assert list(held_out(run)) == [6]
    assert any("trackio" in line and "no account" in line for line in said)


def test_wrong_settings_are_named(run_settings, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.validation.*0\.9"):
        train(run_settings(tmp_path / "run"), "data.validation=0.9")
    with pytest.raises(ConfigError, match=r"early_stopping.*data\.validation"):
        train(run_settings(tmp_path / "run"), "runtime.early_stopping=2")
    for patience in (-1, ".nan", 1.5, 1e30, "soon"):
        with pytest.raises(ConfigError, match=r"early_stopping"):
            train(run_settings(tmp_path / "run"), f"runtime.early_stopping={patience}")
    with pytest.raises(ConfigError, match=r"trackers.*tensorboad"):
        train(run_settings(tmp_path / "run"), "runtime.trackers=[tensorboad]")
