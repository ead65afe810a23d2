"""One artifact answering its part of the questions, in a process of its own.

A process of its own gives each artifact its own peak memory and keeps runtimes apart. Answers are
appended as they come, so that a killed evaluation goes on at the next question. Started by
`worker_pool`; reads requests from JSON files and writes beside them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hydra_mobile.benchmarks.types import Sample
from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.quiet import quiet
from hydra_mobile.evaluation.spec import Asked, Request
from hydra_mobile.evaluation.store.prediction_log import AnswerLog
from hydra_mobile.evaluation.store.shards import Shard, picture_groups
from hydra_mobile.evaluation.store.work_dir import FACTS, LOGITS, REQUEST
from hydra_mobile.evaluation.workers.context_check import left_out
from hydra_mobile.evaluation.workers.device_process import OnDevice, answer_job, measure_device
from hydra_mobile.evaluation.workers.prefetch import PicturesAhead
from hydra_mobile.evaluation.workers.rss_trace import Memory
from hydra_mobile.evaluation.workers.speed import Speed, measure_speed
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.base import Array, Runtime
from hydra_mobile.runtimes.generation import Generation, Generator
from hydra_mobile.runtimes.model_ref import DEVICE_RUNNERS

#: Logits of so many questions, spread evenly, are kept for comparison with the reference: all of
#: the six benchmarks' would fill gigabytes.
LOGITS_KEPT = 64
#: Questions between two kept logits at the least.
LOGITS_EVERY = 8


def answer(folder: Path, threads: int, part: Shard) -> None:
    """Answer this worker's part of every job of `folder`/request.json, what is not answered yet.

    Raises:
        HydraError: whatever is wrong with artifact or data.
    """
    request = read_json(folder / REQUEST, "an evaluation request")
    jobs = [folder / name for name in request["jobs"]]
    asked = {job: _asked(job) for job in jobs}
    if request["runner"] in DEVICE_RUNNERS:
        device = OnDevice.ready(request["runner"], Path(request["artefact"]))
        for job in jobs:
            answer_job(device, asked.pop(job), job, AnswerLog(job).keys(), part)
        return
    runner = _load(request, threads)
    for job in jobs:
        # Before the first answer: nobody waits an hour for a question that does not fit.
        left_out(asked[job], runner)
    for job in jobs:
        _answer_job(asked.pop(job), runner, job, part)


def measure(folder: Path, threads: int) -> None:
    """Measure speed and memory of the request's artifact and write facts.json."""
    request = read_json(folder / REQUEST, "an evaluation request")
    if request["runner"] in DEVICE_RUNNERS:
        measure_device(OnDevice.ready(request["runner"], Path(request["artefact"])), folder)
        return
    runner = _load(request, threads)
    speed = measure_speed(runner) if runner.timings_count else Speed()
    write_json(
        folder / FACTS,
        {
            "load_seconds": runner.load_seconds if runner.timings_count else None,
            "threads": threads,
            "precision": runner.precision,
            "peak_memory_bytes": runner.peak_memory() if runner.timings_count else None,
            "speed": speed.to_dict(),
        },
    )


def _load(request: dict[str, Any], threads: int) -> Runtime:
    kind = runtime_class(request["runner"])
    kind.own_process(threads)
    # Only eager torch has a choice of devices.
    chosen = {"device": request["torch_device"]} if request.get("torch_device") else {}
    loaded: Runtime = kind.load(Path(request["artefact"]), threads=threads, **chosen)
    return loaded


def _asked(job: Path) -> Asked:
    """Read the questions of a job and hold them to its request."""
    written = read_json(job / REQUEST, "the request of a benchmark")
    asked = Asked.of(Request.from_dict(written["asked"]))
    # Through JSON, as the request went.
    if json.loads(json.dumps(asked.identity)) != written["identity"]:
        raise DataError(
            f"The files of {asked.benchmark.name} changed since the evaluation began.",
            "Start it again: answers to the earlier questions are not used.",
        )
    return asked


def _answer_job(asked: Asked, runner: Runtime, job: Path, part: Shard) -> None:
    log = AnswerLog(job)
    done = log.keys() | left_out(asked, runner)
    waiting = part.of([item for item in asked.questions if item[1].key not in done])
    (job / LOGITS).mkdir(exist_ok=True)
    step = max(LOGITS_EVERY, len(asked.samples) // LOGITS_KEPT)
    pictures = [picture for group in picture_groups(waiting) if (picture := group[0][1].image)]
    recipe = runner.processor.image
    if asked.benchmark.image_fit:
        recipe = dataclasses.replace(recipe, fit=asked.benchmark.image_fit)
    generator = Generator(runner)
    appender = log.append(part.number - 1)
    memory = Memory(len(waiting))
    try:
        with PicturesAhead(pictures, recipe) as ahead:
            last, inside = time.perf_counter(), runner.seconds
            for index, sample in waiting:
                generation = _generate(asked, sample, generator, ahead)
                if index % step == 0:
                    _save(job / LOGITS / f"{index}.npy", generation.first_logits)
                now = time.perf_counter()
                spent = (now - last, runner.seconds - inside)
                last, inside = now, runner.seconds
                appender.add(_line(index, sample.key, generation, spent, runner.timings_count))
                memory.note()
    finally:
        appender.close()
    peak = runner.peak_memory() if runner.timings_count else None
    write_json(
        job / f"worker-{part.number - 1}.json",
        {"image_fit": recipe.fit, "peak_memory_bytes": peak, **memory.to_dict()},
    )


def _generate(
    asked: Asked, sample: Sample, generator: Generator, ahead: PicturesAhead
) -> Generation:
    picture = sample.image
    return generator.answer(
        asked.benchmark.prompt(sample),
        (lambda: ahead.take(picture)) if picture else None,
        picture.key if picture else None,
        max_new_tokens=asked.benchmark.max_new_tokens,
    )


def _line(
    index: int, key: str, generation: Generation, spent: tuple[float, float], timed: bool
) -> dict[str, Any]:
    """Return what is kept of an answer.

    Args:
        index: the question's place.
        key: its name.
        generation: the answer.
        spent: seconds since the last one, and in the runner.
        timed: whether the runner's times say something; an emulator's do not.
    """
    return {
        "index": index,
        "key": key,
        "text": generation.text,
        "ids": generation.ids,
        "margin": _margin(generation.first_logits),
        "encode_seconds": _rounded(generation.encode_seconds if timed else None),
        "first_token_seconds": _rounded(generation.first_token_seconds if timed else None),
        "seconds": _rounded(spent[0]),
        "runner_seconds": _rounded(spent[1]),
    }


def _margin(logits: Array) -> float:
    """Return by how much the best logit leads the second best: how sure the answer was."""
    second, first = np.partition(logits, -2)[-2:]
    return round(float(first - second), 4)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _save(file: Path, logits: Array) -> None:
    """Write logits so that a killed process leaves no half-written file."""
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as handle:
        np.save(handle, logits)
    temporary.replace(file)


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, whatever ended it."""

    def watch() -> None:
        # Not through sys.stdin: its lock, held by a thread, would abort the interpreter's end.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: Sequence[str]) -> int:
    """`answer FOLDER THREADS PART` or `measure FOLDER THREADS [PART]`; errors go to stderr.

    With a PART, standard input is a pipe whose end means that the starting process has ended.
    """
    task, folder, threads = arguments[0], Path(arguments[1]), int(arguments[2])
    if len(arguments) > 3:
        _end_with_parent()
    quiet()
    try:
        if task == "answer":
            answer(folder, threads, Shard.parse(arguments[3]))
        else:
            measure(folder, threads)
    except HydraError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
