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

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.progress import Progress, Stage
from hydra_mobile.devices import device_class
from hydra_mobile.evaluation.store.prediction_log import LineCount
from hydra_mobile.evaluation.store.shards import WHOLE, Shard
from hydra_mobile.evaluation.store.work_dir import FACTS, ArtifactDir, TaskDir
from hydra_mobile.runtimes.model_ref import ModelRef

_POLL_SECONDS = 0.5
#: A model up to this size gains little from a second thread, but all from a second process.
_SMALL_BYTES = 1e9
#: What a process takes beside its weights: interpreter, runtime, activations.
_PROCESS_BYTES = 7e8
#: fp32 weights of an artifact stored in fewer bits, and what loading takes for a moment.
_TIMES_STORED = 3
#: Another process costs the seconds of its start, which fewer questions do not earn.
_QUESTIONS_PER_PROCESS = 16
# Processes of ours are no members of a group that torchrun started.
_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_PORT")


@dataclass
class _Worker:
    """A process to start, or one that runs."""

    owner: ArtifactDir
    part: Shard
    threads: int
    lock: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.owner.work / f"answer-{self.part.number - 1}.log"


def workers_for(artifact: ModelRef, questions: int, cores: int, requested: int) -> tuple[int, int]:
    """Return processes for one artifact, and threads of each.

    Args:
        artifact: small ones get a process for each core while memory lasts, others all threads.
        questions: how many wait for an answer.
        cores: to be shared.
        requested: worker processes; 0 selects automatically.
    """
    if requested:
        processes = requested
    elif artifact.size_bytes > _SMALL_BYTES:
        processes = 1
    else:
        each = _TIMES_STORED * artifact.size_bytes + _PROCESS_BYTES
        processes = min(cores, int(psutil.virtual_memory().available * 0.8 / each))
        processes = min(processes, -(-questions // _QUESTIONS_PER_PROCESS))
    processes = max(1, min(processes, questions))
    threads = 1 if artifact.size_bytes <= _SMALL_BYTES and not requested else cores // processes
    return processes, max(1, threads)


def answer_all(
    folders: Sequence[tuple[ArtifactDir, int]], cores: int, workers: int, progress: Progress
) -> None:
    """Run the answering processes of all artifacts under one progress stage.

    Args:
        folders: with the descriptor of each one's lock, which its workers inherit.
        cores: threads that run at one time.
        workers: processes for each artifact; 0 selects automatically.
        progress: shows the stage.

    Raises:
        HydraError: a process failed; says what it said. The others are stopped.
    """
    tasks = [task for folder, _ in folders for task in folder.tasks]
    total = sum(len(task.spec.questions) for task in tasks)
    done = sum(task.log.gather() for task in tasks)
    waiting: list[_Worker] = []
    for folder, lock in folders:
        left = sum(len(task.spec.questions) - len(task.log.keys()) for task in folder.tasks)
        if left > 0:
            # A GPU is kept busy by one process.
            requested = workers or (0 if folder.torch_device in ("", "cpu") else 1)
            if device_class(folder.artifact.device).answers_in_batches:
                requested = 1  # a phone runs one thing at a time
            count, threads = workers_for(folder.artifact, left, cores, requested)
            waiting += [_Worker(folder, Shard(k + 1, count), threads, lock) for k in range(count)]
    stage = progress.stage("answering", total, done, "questions")
    try:
        _run(waiting, _Counter(tasks, done, stage), cores)
    finally:
        for task in tasks:
            task.log.gather()


class _Counter:
    """Counts answers on disk and reports them to a stage of the progress."""

    def __init__(self, tasks: Sequence[TaskDir], done: int, stage: Stage) -> None:
        self._tasks = tasks
        self._done = self._last = done
        self._counts: dict[Path, LineCount] = {}
        self.stage = stage
        self._at_start = done
        self._passed_on: dict[Path, int] = {}

    def update(self, running: Sequence[_Worker]) -> None:
        """Show what was answered since the last call, by whom, and the memory that they take."""
        for task in self._tasks:
            for file in task.log.parts():
                self._counts.setdefault(file, LineCount(file))
        done = self._at_start + sum(count.count() for count in self._counts.values())
        self._pass_on(running)
        if done == self._last:
            return
        names = ", ".join(dict.fromkeys(worker.owner.artifact.name for worker in running))
        memory = f"{_resident(running) / 2**30:.1f} GiB" if running else ""
        self.stage.advance(done, done - self._last, "  ".join(p for p in (names, memory) if p))
        self._last = done

    def _pass_on(self, running: Sequence[_Worker]) -> None:
        """Show the log lines of device workers: a wait for a phone must not look like a hang."""
        for worker in running:
            if device_class(worker.owner.artifact.device).answers_in_batches:
                said = worker.log.read_text(errors="replace").splitlines()
                for line in said[self._passed_on.get(worker.log, 0) :]:
                    self.stage.note(line)
                self._passed_on[worker.log] = len(said)


def _run(waiting: list[_Worker], counter: _Counter, cores: int) -> None:
    running: list[_Worker] = []
    with counter.stage:
        try:
            while waiting or running:
                # One that wants more threads than there are cores still gets its turn.
                while waiting and (
                    not running
                    or sum(w.threads for w in running) + waiting[0].threads <= cores
                    or waiting[0].owner is running[-1].owner
                ):
                    running.append(_started(waiting.pop(0)))
                time.sleep(_POLL_SECONDS)
                counter.update(running)
                for worker in [w for w in running if w.process and w.process.poll() is not None]:
                    running.remove(worker)
                    assert worker.process
                    _require_success(worker.owner.artifact, worker.log, worker.process)
            counter.update(running)
        finally:
            for worker in running:
                if worker.process:
                    worker.process.terminate()
                    worker.process.wait()


def measure_all(
    folders: Sequence[tuple[ArtifactDir, int]], threads: int, progress: Progress
) -> None:
    """Measure speed and memory, one artifact at a time.

    Raises:
        HydraError: a process failed; says what it said.
    """
    with progress.stage("timing", len(folders), 0, "models") as stage:
        for number, (owner, lock) in enumerate(folders, 1):
            if not (owner.folder / FACTS).is_file():
                log = owner.folder / "measure.log"
                process = _start("measure", owner.folder, threads, WHOLE, lock, log)
                try:
                    process.wait()
                finally:
                    process.terminate()
                _require_success(owner.artifact, log, process)
            stage.advance(number, 1, owner.artifact.name)


def _started(worker: _Worker) -> _Worker:
    worker.process = _start(
        "answer", worker.owner.work, worker.threads, worker.part, worker.lock, worker.log
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
