"""One measuring process on this machine: loads an artifact once and answers the plan's prompts.

A process of its own gives each artifact its own peak memory and its own first load. Started by
`run`; reads its task from a file and writes the result beside it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.quiet import quiet
from hydra_mobile.devices import device_named
from hydra_mobile.evaluation.workers.placement import loadable, runtime_on
from hydra_mobile.measurement.plan import Plan, question_of
from hydra_mobile.runtimes.base import Runtime
from hydra_mobile.runtimes.speed import Speed, repeated


def measure(kind: type[Runtime], model: Bundle | Path, plan: Plan, cold: bool) -> dict[str, Any]:
    """Load and time an artifact.

    Args:
        kind: the runtime.
        model: its folder, or a bundle whose hashes were compared: hashing would read the files
            that a cold load must find on the disk.
        plan: what to measure.
        cold: drop its files from the page cache first.

    Returns:
        `load_seconds`, `threads`, `precision`, `peak_memory_bytes`, and a list for each of
        `encode` and `prefill` (seconds), `first_token` (seconds), `prefill_rate` and `decode_rate`
        (tokens/s); `prompt_tokens` as it came out.
    """
    if cold:
        forget(model.folder if isinstance(model, Bundle) else model)
    kind.own_process(plan.threads)
    runtime = kind.load(model, threads=plan.threads)
    question = question_of(plan, runtime.processor, runtime.max_context)
    lines = repeated(runtime, question, plan.new_tokens, plan.repeats, plan.warmup)
    return {
        "load_seconds": runtime.load_seconds,
        "cold": cold,
        "threads": plan.threads,
        "precision": runtime.precision,
        "peak_memory_bytes": runtime.peak_memory(),
        "prompt_tokens": lines[-1].prefill_tokens,
        **Speed.of(lines).to_dict(),
    }


def forget(folder: Path) -> None:
    """Drop a folder's files from the page cache, where the system has a call for it."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def main(arguments: Sequence[str]) -> int:
    """`TASK.json RESULT.json`; errors go to stderr."""
    quiet()
    try:
        task = read_json(Path(arguments[0]), "a task of the benchmark")
        plan = Plan(**task["plan"])
        kind = runtime_on(device_named(task["device"]), task["runner"])
        model = loadable(Path(task["artefact"]), task["verified"])
        result = measure(kind, model, plan, task["cold"])
        write_json(Path(arguments[1]), result)
    except HydraError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
