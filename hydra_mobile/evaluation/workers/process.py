"""One artifact answering its part of the questions, in a separate process.

A separate process gives each artifact its own peak memory and keeps runtimes apart. Answers are
appended as they come, so that a killed evaluation resumes at the next question. Reads the questions
and requests that `work_dir` wrote as JSON and writes beside them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hydra_mobile.benchmarks.question import Question, read_questions
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.integrity import sealed
from hydra_mobile.core.quiet import quiet
from hydra_mobile.core.subprocesses import end_with_parent
from hydra_mobile.devices import device_named
from hydra_mobile.devices.device import BatchDevice, Device
from hydra_mobile.devices.host import HostDevice
from hydra_mobile.evaluation.store.kept_logits import write_logits
from hydra_mobile.evaluation.store.prediction_log import PredictionLog
from hydra_mobile.evaluation.store.shards import Shard
from hydra_mobile.evaluation.store.work_dir import FACTS, LOGITS, QUESTIONS, REQUEST
from hydra_mobile.evaluation.workers.device_process import answer_batch, measure_device, say
from hydra_mobile.evaluation.workers.placement import loadable, runtime_on
from hydra_mobile.runtimes.answering import Prompted, answers, fitted, tokenized
from hydra_mobile.runtimes.base import Runtime
from hydra_mobile.runtimes.other_load import OtherLoad
from hydra_mobile.runtimes.speed import Speed, measure_speed

#: Logits of so many questions, spread evenly, are kept for comparison with the reference: all of
#: the six benchmarks' would fill gigabytes.
LOGITS_KEPT = 64
#: Questions between two kept logits at the least.
LOGITS_EVERY = 8
#: How often in a benchmark resident memory is noted.
_MEMORY_NOTES = 20


@dataclass(frozen=True)
class Waiting:
    """What a worker has to do for one benchmark.

    Attributes:
        folder: of the answers.
        request: what `work_dir.request_of` returned.
        questions: this worker's part, answered or not.
        done: keys of those that are answered.
        part: which part it is.
    """

    folder: Path
    request: dict[str, Any]
    questions: list[Question]
    done: set[str]
    part: Shard

    @classmethod
    def read(cls, folder: Path, part: Shard) -> Waiting:
        """Read a task's folder."""
        request = read_json(folder / REQUEST, "the request of a benchmark")
        questions = part.of(list(read_questions(folder / QUESTIONS)))
        return cls(folder, request, questions, PredictionLog(folder).keys(), part)

    @property
    def title(self) -> str:
        """The benchmark's name, and the part where there are several."""
        name = str(self.request["asked"]["benchmark"])
        return name if self.part.whole else f"{name}, part {self.part}"

    @property
    def allow_partial(self) -> bool:
        """Whether questions that do not fit are left out."""
        return bool(self.request["asked"]["allow_partial"])


def answer(folder: Path, threads: int, part: Shard) -> None:
    """Answer this worker's part of every task of `folder`/request.json that is not answered yet.

    Raises:
        HydraError: whatever is wrong with artifact or data.
    """
    request = read_json(folder / REQUEST, "an evaluation request")
    tasks = [Waiting.read(folder / name, part) for name in request["jobs"]]
    device = _device(request)
    if isinstance(device, BatchDevice):
        bundle = Bundle.open(_model(request))
        session = device.session(bundle, 0, say)
        processor, context = bundle.processor(), bundle.limits.max_context
        for task in tasks:
            # Answered or not: a batch that was interrupted is then the same batch.
            prompted = tokenized(
                task.questions,
                processor,
                context,
                title=task.title,
                allow_partial=task.allow_partial,
            )
            answer_batch(session, prompted, task.folder, task.request, task.done, part)
        return
    runtime = _load(device, request, threads)
    # All before the first answer: nobody waits an hour for a question that does not fit.
    prompted_tasks = [
        tokenized(
            (question for question in task.questions if question.key not in task.done),
            runtime.processor,
            runtime.max_context,
            title=task.title,
            allow_partial=task.allow_partial,
        )
        for task in tasks
    ]
    for task, prompted in zip(tasks, prompted_tasks, strict=True):
        _answer(task, prompted, runtime, part)


def measure(folder: Path, threads: int) -> None:
    """Measure speed and memory of the request's artifact and write facts.json."""
    request = read_json(folder / REQUEST, "an evaluation request")
    device = _device(request)
    if isinstance(device, BatchDevice):
        measure_device(device.session(Bundle.open(_model(request)), 0, say), folder)
        return
    runtime = _load(device, request, threads)
    others = OtherLoad()
    speed = measure_speed(runtime) if runtime.timings_count else Speed()
    facts = {
        "others": round(others.share(), 3) if runtime.timings_count else None,
        "load_seconds": runtime.load_seconds if runtime.timings_count else None,
        "threads": threads,
        "precision": runtime.precision,
        "peak_memory_bytes": runtime.peak_memory() if runtime.timings_count else None,
        "speed": speed.to_dict(),
    }
    write_json(folder / FACTS, sealed(facts))


def _device(request: dict[str, Any]) -> Device:
    return device_named(request.get("device", HostDevice.name))


def _model(request: dict[str, Any]) -> Bundle | Path:
    return loadable(Path(request["artefact"]), bool(request.get("verified")))


def _load(device: Device, request: dict[str, Any], threads: int) -> Runtime:
    kind = runtime_on(device, request["runner"])
    kind.own_process(threads)
    # Only eager torch has a choice of devices.
    chosen = {"device": request["torch_device"]} if request.get("torch_device") else {}
    loaded: Runtime = kind.load(_model(request), threads=threads, **chosen)
    return loaded


def _answer(task: Waiting, prompted: list[Prompted], runtime: Runtime, part: Shard) -> None:
    folder, request = task.folder, task.request
    (folder / LOGITS).mkdir(exist_ok=True)
    step = max(LOGITS_EVERY, request["identity"]["questions"] // LOGITS_KEPT)
    appender = PredictionLog(folder).append(part.number - 1)
    memory = _Memory(len(prompted))
    fit = request["image_fit"]
    try:
        for line, logits in answers(
            runtime, prompted, max_new_tokens=request["max_new_tokens"], image_fit=fit
        ):
            if line.index % step == 0:
                write_logits(folder / LOGITS / f"{line.index}.npy", logits)
            appender.add(line)
            memory.note()
    finally:
        appender.close()
    peak = runtime.peak_memory() if runtime.timings_count else None
    recipe = runtime.processor.image
    write_json(
        folder / f"worker-{part.number - 1}.json",
        {
            "image_fit": (fitted(recipe, fit) or recipe).fit,
            "peak_memory_bytes": peak,
            **memory.to_dict(),
        },
    )


class _Memory:
    """Resident memory along the way, at some twenty moments, to see whether it stays flat.

    Args:
        questions: how many will be answered.
    """

    def __init__(self, questions: int) -> None:
        self._process = psutil.Process()
        self._every = max(1, questions // _MEMORY_NOTES)
        self._answered = 0
        self._notes: list[tuple[int, int]] = []

    def note(self) -> None:
        """Count one answer."""
        self._answered += 1
        if self._answered == 1 or self._answered % self._every == 0:
            self._notes.append((self._answered, self._process.memory_info().rss))

    def to_dict(self) -> dict[str, Any]:
        """Return (answers so far, bytes) pairs as JSON values."""
        return {"answered": self._answered, "resident_bytes": self._notes}


def main(arguments: Sequence[str]) -> int:
    """`answer FOLDER THREADS PART` or `measure FOLDER THREADS [PART]`; errors go to stderr.

    With a PART, standard input is a pipe whose end means that the starting process has ended.
    """
    task, folder, threads = arguments[0], Path(arguments[1]), int(arguments[2])
    if len(arguments) > 3:
        end_with_parent()
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
