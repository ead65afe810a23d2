"""Two processes on gloo against one process with accumulation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.config import load_config
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.training.run import TrainingRun

SETTINGS = [
    "stage1.accumulation=1",
    "stage2.steps=10",
    "ranks.dynamic.target=paired_probe",
    "ranks.dynamic.probe_steps=2",
    "ranks.dynamic.candidates=1",
    "ranks.dynamic.probe_share=10",
    "ranks.dynamic.every=0.2",
    "ranks.dynamic.holdout_batches=2",
    "ranks.calibration_batches=2",
    "ranks.dynamic.warmup=0.3",
    "runtime.threads=1",
]
#: Every event moves.
TRAILING = [
    "ranks.dynamic.target=trailing",
    "ranks.dynamic.margin=1",
    "ranks.compensate=both",
    "ranks.dynamic.least_steps=0",
    "ranks.dynamic.events=[0.3,0.5,0.7]",
]
# The same sums in another order: fp32, ten steps of AdamW.
TOLERANCE = 1e-5


def torchrun(*arguments):
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run"]
    command += ["--nproc-per-node=2", "--master-port=0", "--rdzv-backend=c10d"]
    command += [
        "--rdzv-endpoint=localhost:0",
        str(Path(__file__).parents[1] / "support" / "two_processes.py"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def one_process(tmp_path_factory, run_settings):
    folder = tmp_path_factory.mktemp("one") / "run"
    more = [*SETTINGS, "stage1.accumulation=2", "stage2.accumulation=2"]
    config = load_config(None, [*run_settings(folder), *more])
    return TrainingRun(config).train()


@pytest.mark.slow
def test_two_processes_move_the_same_trailing_directions(run_settings, tmp_path):
    run, alone = tmp_path / "run", tmp_path / "alone"
    done = torchrun("train", *run_settings(run), *SETTINGS, *TRAILING)
    assert done.returncode == 0, done.stderr[-3000:]
    both = [json.loads((run / f"weights-{process}.json").read_text()) for process in (0, 1)]
    assert both[0] == both[1]
    more = [*SETTINGS, *TRAILING, "stage1.accumulation=2", "stage2.accumulation=2"]
    TrainingRun(load_config(None, [*run_settings(alone), *more])).train()
    ours, theirs = (RankHistory.of_run(folder) for folder in (run, alone))
    assert len(ours.maps()) > 1, "ranks were to change in this run"
    assert ours.maps() == theirs.maps()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_do_what_one_does_with_accumulation(
    one_process, run_settings, tmp_path, kind
):
    run = tmp_path / "run"
    done = torchrun("train", *run_settings(run), *SETTINGS, f"runtime.distributed={kind}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"in 2 processes ({kind})" in done.stdout
    both = [json.loads((run / f"weights-{process}.json").read_text()) for process in (0, 1)]
    assert both[0] == both[1]
    held = [json.loads((run / f"held-{process}.json").read_text()) for process in (0, 1)]
    assert sum(held) == pytest.approx(1.0 if kind == "fsdp" else 2.0)
    ours, theirs = (RankHistory.of_run(folder) for folder in (run, one_process.parent))
    assert ours.maps() == theirs.maps()
    assert len(ours.maps()) > 1, "ranks were to change in this run"
    assert [(e.step, e.event) for e in ours.read()] == [(e.step, e.event) for e in theirs.read()]
    for file in ("adapter_model.safetensors", "projector.safetensors"):
        two, one = load_file(run / "adapter" / file), load_file(one_process / file)
        assert max(float((two[n] - one[n]).abs().max()) for n in one) <= TOLERANCE
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    places = [(line["stage"], line["step"]) for line in lines]
    assert len(places) == len(set(places)), "both processes logged"


@pytest.mark.slow  # two processes: 14 s
def test_processes_that_disagree_stop(run_settings, tmp_path):
    done = torchrun("disagree", *run_settings(tmp_path / "run"), *SETTINGS)
    assert done.returncode != 0
    assert "ranks" in done.stderr
    assert not (tmp_path / "run" / "adapter").exists()


@pytest.mark.slow  # two processes: 14 s
def test_two_processes_start_along_the_same_gradient(run_settings, tmp_path):
    run = tmp_path / "run"
    settings = [*run_settings(run), *SETTINGS, "ranks.initialization=gradient"]
    done = torchrun("train", *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "along the gradient" in done.stdout
    both = [json.loads((run / f"weights-{process}.json").read_text()) for process in (0, 1)]
    assert both[0] == both[1]


@pytest.mark.slow  # two processes, twice: 16 s
def test_two_processes_resume_as_two(run_settings, tmp_path):
    settings = [*run_settings(tmp_path / "run"), *SETTINGS]
    done = torchrun("train", *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    with pytest.raises(ConfigError, match="processes: 2 -> 1"):
        TrainingRun(load_config(None, settings)).train(resume=True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("ranks.policy=full", "shards frozen weights only"),
        ("runtime.base_precision=4bit", "4-bit base cannot be sharded"),
        ("runtime.compile=true", "does not work together"),
    ],
)
def test_what_cannot_be_sharded_is_refused(more, message):
    from hydra_mobile.training.processes import require_shardable

    with pytest.raises(ConfigError, match=message):
        require_shardable(load_config(None, [more, "runtime.distributed=fsdp"]))
