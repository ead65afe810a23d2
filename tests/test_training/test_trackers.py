"""A killed run goes on in the same run of each tracker, and its own reader reads it back.

All of them offline. Each needs its extra and is skipped without it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from hydra_mobile.api.run import Run
from hydra_mobile.training.trackers import PROJECT

pytestmark = pytest.mark.slow

#: Trains; killed where it has validated this step, behind the checkpoint of an earlier one.
DRIVER = """
import os, signal, sys
from hydra_mobile.config import load_config
from hydra_mobile.training.run import TrainingRun

at, resume, *settings = sys.argv[1:]

def log(line):
    print(line, flush=True)
    if line.startswith(f"step {at}:"):
        os.kill(os.getpid(), signal.SIGKILL)

TrainingRun(load_config(None, settings), log).train(resume == "resume")
"""
SETTINGS = [
    "data.stage1=",
    "data.validation=0.25",
    "stage2.steps=12",
    "runtime.evaluate_every=2",
    "runtime.checkpoint_every=3",
    "runtime.threads=1",
    # The best step is not the last one.
    "stage2.learning_rate=3.0",
    "stage2.clip=0",
    "stage2.warmup=0.2",
    "runtime.early_stopping=2",
]
#: Values by name and step, as logged; a step that was logged twice has two.
Logged = dict[str, dict[int, list[float]]]


def tensorboard_read(run: Path) -> Logged:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "trackers" / "tensorboard"))
    events.Reload()
    found: Logged = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            found.setdefault(name, {}).setdefault(event.step, []).append(event.value)
    return found


def mlflow_read(run: Path) -> Logged:
    import mlflow

    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    (experiment,) = client.search_experiments(filter_string=f"name = '{PROJECT}'")
    (only,) = client.search_runs([experiment.experiment_id])
    assert only.info.run_id == json.loads((run / "trackers" / "ids.json").read_text())["mlflow"]
    assert only.info.status == "FINISHED"
    assert only.data.params["stage2.steps"] == "12"
    found: Logged = {}
    for name in only.data.metrics:
        for value in client.get_metric_history(only.info.run_id, name):
            found.setdefault(name, {}).setdefault(value.step, []).append(value.value)
    return found


def trackio_read(run: Path) -> Logged:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (only,) = trackio.Api().runs(PROJECT)
    assert only.name == json.loads((run / "trackers" / "ids.json").read_text())["trackio"]
    assert only.config["stage2.steps"] == 12
    found: Logged = {}
    for line in SQLiteStorage.get_logs(PROJECT, only.name):
        for name, value in line.items():
            if name.startswith("stage2/"):
                found.setdefault(name, {}).setdefault(line["step"], []).append(value)
    return found


def wandb_read(run: Path) -> Logged:
    from wandb.proto.wandb_internal_pb2 import Record

    found: Logged = {}
    identity = json.loads((run / "trackers" / "ids.json").read_text())["wandb"]
    folders = sorted((run / "trackers" / "wandb").glob("offline-run-*"))
    # Offline each process writes a folder of its own; `wandb sync` joins them by their id. That of
    # the killed one may hold nothing yet.
    assert len(folders) == 2
    assert all((each / f"run-{identity}.wandb").is_file() for each in folders)
    configured = []
    for data in wandb_records((folders[-1] / f"run-{identity}.wandb").read_bytes()):
        record = Record.FromString(data)
        if record.HasField("run"):
            assert (record.run.run_id, record.run.project) == (identity, PROJECT)
            configured += [update.key for update in record.run.config.update]
        if record.HasField("history"):
            items = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            for name in (name for name in items if name.startswith("stage2/")):
                steps = found.setdefault(name, {})
                steps.setdefault(items["_step"], []).append(items[name])
    assert "stage2.steps" in configured
    return found


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a .wandb file: blocks of LevelDB's log format behind seven bytes."""
    assert data[:4] == b":W&B"
    block, header, at, whole = 32768, 7, 7, b""
    while at + header <= len(data):
        if block - at % block < header:
            at += block - at % block
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if kind == 0:
            return
        whole += data[at + header : at + header + length]
        at += header + length
        # 1: all of a record; 2, 3, 4: its first, a middle, its last part.
        if kind in (1, 4):
            yield whole
            whole = b""


READERS: Mapping[str, Callable[[Path], Logged]] = {
    "tensorboard": tensorboard_read,
    "mlflow": mlflow_read,
    "trackio": trackio_read,
    "wandb": wandb_read,
}


def train(folder: Path, settings: list[str], at: int = -1, resume: bool = False) -> int:
    driver = folder / "driver.py"
    driver.write_text(DRIVER)
    given = ["resume" if resume else "start", *settings, *SETTINGS]
    command = [sys.executable, "-W", "ignore", str(driver), str(at), *given]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode > 0:
        pytest.fail(done.stdout + done.stderr)
    return done.returncode


@pytest.fixture(scope="module")
def whole(run_settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nobody killed and no tracker saw."""
    folder = tmp_path_factory.mktemp("whole")
    assert train(folder, run_settings(folder / "run")) == 0
    return Run.open(folder / "run")


@pytest.mark.parametrize("name", READERS)
def test_a_killed_run_goes_on_in_its_tracker(run_settings, tmp_path, monkeypatch, whole, name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs the extra [{name}]")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio-runs"))
    run = tmp_path / "run"
    settings = [*run_settings(run), f"runtime.trackers=[{name}]"]
    assert train(tmp_path, settings, at=4) == -9
    assert [f.name for f in (run / "checkpoints").iterdir()] == ["2-stage2-0000003"]
    assert train(tmp_path, settings, resume=True) == 0
    resumed = Run.open(run)
    best = whole.summary["validation"]["best_step"]
    assert best < max(m["step"] for m in whole.metrics)
    assert resumed.summary["validation"]["best_step"] == best
    assert [f.name for f in (run / "best").iterdir()] == [f"{best:07d}"]
    mine, other = (
        load_file(r.path / "adapter/adapter_model.safetensors") for r in (resumed, whole)
    )
    assert all((mine[key] == other[key]).all() for key in other)
    found = READERS[name](run)
    for key in ("loss", "validation_loss"):
        expected = {m["step"]: m[key] for m in whole.metrics if key in m}
        assert found[f"stage2/{key}"].keys() == expected.keys()
        for step, values in found[f"stage2/{key}"].items():
            # What came behind the checkpoint may be there twice; it is the same.
            np.testing.assert_allclose(values, expected[step], rtol=1e-6)
