"""Forty SIGKILLs at random moments: during steps, rank events, probes and saves. Minutes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.core.files import sha256_of

KILLS = 40
DRIVER = """
import sys
from hydra_mobile.adapters.dynamic.probe_controller import ProbeController
from hydra_mobile.adapters.dynamic.data import Prediction
from hydra_mobile.config import load_config
from hydra_mobile.training.run import TrainingRun

def choose(self, model, moves, progress):
    # Move at every second event, so that kills find resizes too.
    made = moves and round(progress * self._schedule.steps) % 4 == 0
    return (moves[0] if made else None), Prediction(gain=2e-3, spread=1e-4, lower=1e-3)

ProbeController._choose = choose
resume, *overrides = sys.argv[1:]
print("ready", flush=True)
TrainingRun(load_config(None, overrides), print).train(resume == "resume")
"""
SETTINGS = [
    "ranks.dynamic.target=paired_probe",
    "data.stage1=",
    "stage2.steps=150",
    "stage2.accumulation=2",
    "ranks.dropout=0.1",
    "ranks.dynamic.probe_steps=2",
    "ranks.dynamic.candidates=1",
    "ranks.dynamic.probe_share=10",
    "ranks.dynamic.every=0.066",
    "ranks.dynamic.holdout_batches=2",
    "runtime.checkpoint_every=1",
    "runtime.threads=1",
]


#: Every event moves or is undone, each after forward passes of its check.
TRAILING = [
    "ranks.dynamic.target=trailing",
    "ranks.dynamic.margin=1",
    "ranks.dynamic.least_steps=0",
    f"ranks.dynamic.events={[round(0.02 * i, 2) for i in range(1, 50)]}",
]


#: Validated, tracked, the best step kept, and the last steps at 4 bits.
WATCHED = [
    *TRAILING,
    "ranks.dropout=0",
    "stage2.qat=int4",
    "data.validation=0.25",
    "runtime.evaluate_every=5",
    "runtime.trackers=[tensorboard]",
]


def scalars(run):
    """What tensorboard shows of a run: step -> value by name."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run / "trackers" / "tensorboard"))
    events.Reload()
    return {
        name: {event.step: event.value for event in events.Scalars(name)}
        for name in ("stage2/loss", "stage2/validation_loss")
    }


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], TRAILING, WATCHED], ids=["probes", "trailing", "watched"])
def test_forty_kills_lose_nothing(run_settings, tmp_path, more):
    """Resumed runs end bit-identical, with the same history."""
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)

    def start(name, resume):
        run = tmp_path / name
        command = [sys.executable, "-W", "ignore", str(driver), "resume" if resume else "start"]
        log = (tmp_path / f"{name}.log").open("ab")
        return subprocess.Popen(
            [*command, *run_settings(run), *SETTINGS, *more], stdout=log, stderr=log, env=os.environ
        )

    began = time.monotonic()
    assert start("whole", resume=False).wait() == 0
    alone = time.monotonic() - began
    rng = random.Random(0)
    kills, where = 0, []
    while True:
        resume = (tmp_path / "run" / "run.json").exists()
        process = start("run", resume)
        history = tmp_path / "run" / "metrics.jsonl"
        before = history.stat().st_size if history.exists() else -1
        if kills < KILLS:
            # The first moments of a process are imports: wait until it trains, mostly.
            patient = rng.random() < 0.9
            limit = time.monotonic() + 60
            while patient and process.poll() is None and time.monotonic() < limit:
                if history.exists() and history.stat().st_size > max(before, 0):
                    break
                time.sleep(0.002)
            time.sleep(rng.random() * 0.12)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
                where.append(history.stat().st_size if history.exists() else 0)
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL, (tmp_path / "run.log").read_text()[-3000:]
        assert time.monotonic() - began < 40 * alone
    assert kills == KILLS, f"the run was through after {kills} kills"
    whole, pieces = tmp_path / "whole" / "adapter", tmp_path / "run" / "adapter"
    names = {file.name for file in whole.iterdir()}
    assert names == {file.name for file in pieces.iterdir()}
    for name in names:
        assert sha256_of(whole / name) == sha256_of(pieces / name), name
    histories = [RankHistory.of_run(tmp_path / name).read() for name in ("whole", "run")]
    first, second = ([(e.step, e.event, e.digest, e.realised) for e in h] for h in histories)
    assert first == second
    assert any(event.event == "move" for event in histories[0])
    # What a probe or a check saw.
    assert any(event.realised for event in histories[0])
    if more is WATCHED:
        both = [tmp_path / "whole", tmp_path / "run"]
        standing = [json.loads((run / "summary.json").read_text())["validation"] for run in both]
        assert standing[0] == standing[1]
        best = [sorted(file.name for file in (run / "best").iterdir()) for run in both]
        assert best[0] == best[1]
        assert scalars(tmp_path / "whole") == scalars(tmp_path / "run")
