"""Forty SIGKILLs at random moments, and forty inside of rank events. Minutes."""

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
    "ranks.compensate=both",
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


#: Where in an event a process ends: what it was about to do when it was killed.
PLACES = ("read", "check", "checked", "undo", "grow", "record", "save")
INSIDE = """
import os, signal, sys, traceback

from hydra_mobile.adapters import resize
from hydra_mobile.adapters.dynamic import trailing_controller
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.probe_loop import ProbeLoop
from hydra_mobile.config import load_config
from hydra_mobile.training.run import TrainingRun

place, times = "", 0

def reached(name):
    global times
    if name == place:
        times -= 1
        if times == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def before(owner, attribute, name):
    whole = getattr(owner, attribute)

    def first(*given, **more):
        reached(name(*given, **more) if callable(name) else name)
        return whole(*given, **more)

    setattr(owner, attribute, first)

checks = 0

def nth_check(*given):
    global checks
    checks += 1
    return "check" if checks % 2 else "checked"

def harms(rise, t):
    # About half of the events, the same in a run that was resumed.
    harm = int(abs(rise) * 1e9) % 2 == 0
    if harm:
        reached("undo")
    return harm

before(ProbeLoop, "spectra", "read")
before(ProbeLoop, "held_out_losses", nth_check)
before(resize, "_grow", "grow")
before(RankHistory, "append", lambda history, event: "record" if event["event"] == "move" else "")
trailing_controller.is_harm = harms
after = ProbeLoop.resize

def resized(self, rank_map, step, shrink=None):
    after(self, rank_map, step, shrink)
    reached("save")

ProbeLoop.resize = resized

kills, places, run, overrides = int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3], sys.argv[4:]
done = []
while True:
    attempt = len(done)
    child = os.fork()
    if child == 0:
        if attempt < kills:
            place, times = places[attempt % len(places)], 1 + attempt % 2
        try:
            begun = os.path.exists(run + "/run.json")
            TrainingRun(load_config(None, overrides), print).train(begun)
        except BaseException:
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != -signal.SIGKILL:
        break
    done.append(places[attempt % len(places)])
print("killed:", *done)
sys.exit(status)
"""
MANY_EVENTS = [
    *TRAILING,
    "stage2.steps=200",
    "ranks.dynamic.probe_share=0.07",
    f"ranks.dynamic.events={[round(0.01 * i, 2) for i in range(1, 99)]}",
]


@pytest.mark.slow
def test_forty_kills_inside_events_lose_nothing(run_settings, tmp_path):
    """Before ranks are read, around the check, in an undo, between shrinking and growing, after."""
    driver = tmp_path / "driver.py"
    driver.write_text(INSIDE)

    def train(name, kills):
        run = tmp_path / name
        command = [sys.executable, "-W", "ignore", str(driver), str(kills), ",".join(PLACES)]
        command += [str(run), *run_settings(run), *SETTINGS, *MANY_EVENTS]
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.splitlines()[-1].split()[1:]

    assert train("whole", 0) == []
    killed = train("run", KILLS)
    assert len(killed) == KILLS
    assert set(killed) == set(PLACES)
    both = [tmp_path / name for name in ("whole", "run")]
    adapters = [{f.name: sha256_of(f) for f in (run / "adapter").iterdir()} for run in both]
    assert adapters[0] == adapters[1]
    histories = [RankHistory.of_run(run).read() for run in both]
    first, second = ([(e.step, e.event, e.digest, e.realised) for e in h] for h in histories)
    assert first == second
    undone = [event.realised["undone"] for event in histories[0] if event.realised]
    assert any(undone)
    assert not all(undone)
