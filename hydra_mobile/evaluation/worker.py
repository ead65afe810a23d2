"""One artefact answering one benchmark, in a process of its own.

A process of its own gives each artefact its own peak memory and keeps runtimes apart. Answers are
appended as they come, so that a killed evaluation goes on at the next question. Started by
`evaluate`; reads a request from a JSON file and writes beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from hydra_mobile.errors import HydraError
from hydra_mobile.evaluation.benchmarks import BENCHMARKS
from hydra_mobile.evaluation.benchmarks.base import Benchmark, Sample
from hydra_mobile.evaluation.generation import Generator
from hydra_mobile.evaluation.runners import runner_class
from hydra_mobile.evaluation.runners.base import Array, Runner
from hydra_mobile.evaluation.speed import measure_speed
from hydra_mobile.files import read_json, write_json
from hydra_mobile.memory import peak_resident_bytes
from hydra_mobile.quiet import quiet
from hydra_mobile.registry import resolve

REQUEST, ANSWERS, FACTS, LOGITS = "request.json", "answers.jsonl", "facts.json", "logits"
#: Logits of every so many questions are kept for comparison with the reference.
LOGITS_EVERY = 8


def read_answers(file: Path) -> dict[str, dict[str, Any]]:
    """Return answers by key; a last line cut short by a killed process is left out."""
    answers: dict[str, dict[str, Any]] = {}
    if file.exists():
        for line in file.read_text().splitlines():
            try:
                answer = json.loads(line)
            except json.JSONDecodeError:
                continue
            answers[answer["key"]] = answer
    return answers


def answer(folder: Path, threads: int) -> None:
    """Answer all questions of `folder`/request.json that have no answer yet.

    Raises:
        HydraError: whatever is wrong with artefact or data.
    """
    request = read_json(folder / REQUEST, "an evaluation request")
    benchmark: Benchmark = resolve("benchmark", request["benchmark"], BENCHMARKS)(
        Path(request["data"])
    )
    samples = benchmark.samples(splits=request["splits"], limit=request["limit"])
    _answer_all(benchmark, samples, _load(request, threads), folder)


def measure(folder: Path, threads: int) -> None:
    """Measure speed and memory of the request's artefact and write facts.json."""
    runner = _load(read_json(folder / REQUEST, "an evaluation request"), threads)
    speed = measure_speed(runner)
    write_json(
        folder / FACTS,
        {
            "load_seconds": runner.load_seconds,
            "threads": threads,
            "precision": runner.precision,
            "peak_memory_bytes": peak_resident_bytes(),
            "speed": speed.to_dict(),
        },
    )


def _load(request: dict[str, Any], threads: int) -> Runner:
    loaded: Runner = runner_class(request["runner"]).load(
        Path(request["artefact"]), threads=threads
    )
    return loaded


def _answer_all(benchmark: Benchmark, samples: list[Sample], runner: Runner, folder: Path) -> None:
    done = read_answers(folder / ANSWERS)
    # Written anew, so that a line cut short does not swallow the next one.
    (folder / ANSWERS).write_text("".join(json.dumps(a) + "\n" for a in done.values()))
    (folder / LOGITS).mkdir(exist_ok=True)
    generator = Generator(runner)
    with (folder / ANSWERS).open("a") as handle:
        for index, sample in enumerate(samples):
            if sample.key not in done:
                _answer(benchmark, sample, index, generator, folder, handle)


def _answer(
    benchmark: Benchmark,
    sample: Sample,
    index: int,
    generator: Generator,
    folder: Path,
    handle: TextIO,
) -> None:
    image = sample.image
    generation = generator.answer(
        benchmark.prompt(sample),
        image.open if image else None,
        image.key if image else None,
        max_new_tokens=benchmark.max_new_tokens,
    )
    if index % LOGITS_EVERY == 0:
        np.save(folder / LOGITS / f"{index}.npy", generation.first_logits)
    line = {
        "key": sample.key,
        "text": generation.text,
        "ids": generation.ids,
        "margin": _margin(generation.first_logits),
        "encode_seconds": generation.encode_seconds,
        "first_token_seconds": generation.first_token_seconds,
    }
    handle.write(json.dumps(line) + "\n")
    handle.flush()


def _margin(logits: Array) -> float:
    """Return by how much the best logit leads the second best: how sure the answer was."""
    second, first = np.partition(logits, -2)[-2:]
    return round(float(first - second), 4)


def main() -> int:
    """`answer|measure FOLDER THREADS`; errors go to standard error."""
    quiet()
    try:
        {"answer": answer, "measure": measure}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    except HydraError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
