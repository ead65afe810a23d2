"""Runs answering and measuring processes, as many at a time as there are cores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from hydra_mobile.core.console_progress import StageProgress
from hydra_mobile.core.errors import HydraError
from hydra_mobile.evaluation.store.prediction_log import LineCount
from hydra_mobile.evaluation.store.shards import WHOLE, Shard
from hydra_mobile.evaluation.store.work_dir import FACTS, ArtifactDir, TaskDir
from hydra_mobile.runtimes.model_ref import DEVICE_RUNNERS, ModelRef

_POLL_SECONDS = 0.5
#: A model up to this size gains little from a second thread, but all from a second process.
_SMALL_BYTES = 1e9
#: What a process takes beside its weights: interpreter, runtime, activations.
_PROCESS_BYTES = 7e8
#: fp32 weights of an artifact stored in fewer bits, and what loading takes for a moment.
_TIMES_STORED = 3
# Processes of ours are no members of a group that torchrun started.
_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_PORT")


@dataclass
class _Worker:
    """A process to start, or one at work."""

    sitting: ArtifactDir
    part: Shard
    threads: int
    lock: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.sitting.work / f"answer-{self.part.number - 1}.log"


def workers_for(artifact: ModelRef, questions: int, cores: int, asked: int) -> tuple[int, int]:
    """Return processes for one artifact, and threads of each.

    Args:
        artifact: small ones get a process for each core while memory lasts, others all threads.
        questions: how many wait for an answer.
        cores: to be shared.
        asked: processes that the user asked for; 0 for no wish.
    """
    if asked:
        processes = asked
    elif artifact.size_bytes > _SMALL_BYTES:
        processes = 1
    else:
        each = _TIMES_STORED * artifact.size_bytes + _PROCESS_BYTES
        processes = min(cores, int(psutil.virtual_memory().available * 0.8 / each))
    processes = max(1, min(processes, questions))
    threads = 1 if artifact.size_bytes <= _SMALL_BYTES and not asked else cores // processes
    return processes, max(1, threads)


def answer_all(
    sittings: Sequence[tuple[ArtifactDir, int]], cores: int, workers: int, console: Console
) -> None:
    """Run the answering processes of all sittings under one progress bar.

    Args:
        sittings: with the descriptor of each one's lock, which its workers inherit.
        cores: threads at work at one time.
        workers: processes for each artifact; 0 for as many as seem right.
        console: for progress.

    Raises:
        HydraError: a process failed; says what it said. The others are stopped.
    """
    jobs = [job for sitting, _ in sittings for job in sitting.jobs]
    total = sum(len(job.asked.questions) for job in jobs)
    done = sum(job.log.gather() for job in jobs)
    waiting: list[_Worker] = []
    for sitting, lock in sittings:
        left = sum(len(job.asked.questions) - len(job.log.keys()) for job in sitting.jobs)
        if left > 0:
            # A GPU is kept busy by one process.
            wish = workers or (0 if sitting.torch_device in ("", "cpu") else 1)
            if sitting.artifact.runner in DEVICE_RUNNERS:
                wish = 1  # one phone does one thing at a time
            count, threads = workers_for(sitting.artifact, left, cores, wish)
            waiting += [_Worker(sitting, Shard(k + 1, count), threads, lock) for k in range(count)]
    try:
        _run(waiting, _Progress(jobs, total, done, console), cores)
    finally:
        for job in jobs:
            job.log.gather()


class _Progress:
    """Counts answers on disk and shows them."""

    def __init__(self, jobs: Sequence[TaskDir], total: int, done: int, console: Console) -> None:
        self._jobs = jobs
        self._done = self._last = done
        self._counts: dict[Path, LineCount] = {}
        self.bar = StageProgress(console, "answering", total, done, "questions")
        self._at_start = done
        self._said: dict[Path, int] = {}

    def update(self, running: Sequence[_Worker]) -> None:
        """Show what was answered since the last call, by whom, and the memory that they take."""
        for job in self._jobs:
            for file in job.log.parts():
                self._counts.setdefault(file, LineCount(file))
        done = self._at_start + sum(count.count() for count in self._counts.values())
        self._pass_on(running)
        if done == self._last:
            return
        names = ", ".join(dict.fromkeys(worker.sitting.artifact.name for worker in running))
        memory = f"{_resident(running) / 2**30:.1f} GiB" if running else ""
        self.bar.advance(done, done - self._last, "  ".join(p for p in (names, memory) if p))
        self._last = done

    def _pass_on(self, running: Sequence[_Worker]) -> None:
        """Show what workers of devices say: that one waits for a phone nobody would guess."""
        for worker in running:
            if worker.sitting.artifact.runner in DEVICE_RUNNERS:
                said = worker.log.read_text(errors="replace").splitlines()
                for line in said[self._said.get(worker.log, 0) :]:
                    self.bar.note(line)
                self._said[worker.log] = len(said)


def _run(waiting: list[_Worker], progress: _Progress, cores: int) -> None:
    running: list[_Worker] = []
    with progress.bar:
        try:
            while waiting or running:
                # One that wants more threads than there are cores still gets its turn.
                while waiting and (
                    not running
                    or sum(w.threads for w in running) + waiting[0].threads <= cores
                    or waiting[0].sitting is running[-1].sitting
                ):
                    running.append(_started(waiting.pop(0)))
                time.sleep(_POLL_SECONDS)
                progress.update(running)
                for worker in [w for w in running if w.process and w.process.poll() is not None]:
                    running.remove(worker)
                    assert worker.process
                    _require_success(worker.sitting.artifact, worker.log, worker.process)
            progress.update(running)
        finally:
            for worker in running:
                if worker.process:
                    worker.process.terminate()
                    worker.process.wait()


def measure_all(
    sittings: Sequence[tuple[ArtifactDir, int]], threads: int, console: Console
) -> None:
    """Measure speed and memory, one artifact at a time.

    Raises:
        HydraError: a process failed; says what it said.
    """
    with StageProgress(console, "timing", len(sittings), 0, "systems") as bar:
        for number, (sitting, lock) in enumerate(sittings, 1):
            if not (sitting.folder / FACTS).is_file():
                log = sitting.folder / "measure.log"
                process = _start("measure", sitting.folder, threads, WHOLE, lock, log)
                try:
                    process.wait()
                finally:
                    process.terminate()
                _require_success(sitting.artifact, log, process)
            bar.advance(number, 1, sitting.artifact.name)


def _started(worker: _Worker) -> _Worker:
    worker.process = _start(
        "answer", worker.sitting.work, worker.threads, worker.part, worker.lock, worker.log
    )
    return worker


def _start(
    task: str, folder: Path, threads: int, part: Shard, lock: int, log: Path
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile.evaluation.workers.process"]
    environment = {name: value for name, value in os.environ.items() if name not in _GROUP}
    # OpenMP reads its variable once, before any code of ours could set it.
    environment["OMP_NUM_THREADS"] = str(threads)
    with log.open("w") as handle:
        return subprocess.Popen(
            [*command, task, str(folder), str(threads), str(part)],
            stdout=handle,
            stderr=handle,
            # Its end tells the process that we have ended.
            stdin=subprocess.PIPE,
            pass_fds=(lock,),
            env=environment,
        )


def _require_success(artifact: ModelRef, log: Path, process: subprocess.Popen[bytes]) -> None:
    if process.returncode:
        said = log.read_text(errors="replace").strip()
        if process.returncode < 0:
            said = f"{said}\nThe process was ended by signal {-process.returncode}.".strip()
        raise HydraError(f"Evaluating {artifact.name} failed:\n{said[-2000:]}")


def _resident(workers: Sequence[_Worker]) -> int:
    """Return resident bytes of the processes together."""
    total = 0
    for worker in workers:
        if worker.process:
            try:
                total += psutil.Process(worker.process.pid).memory_info().rss
            except psutil.Error:
                continue  # ended between the two calls
    return total
