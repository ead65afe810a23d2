"""Several artifacts, several benchmarks, one table: who answers what, and what comes of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import write_json
from hydra_mobile.core.progress import duration
from hydra_mobile.core.registry import nearest
from hydra_mobile.evaluation.results.comparisons import Outcome, comparisons_of
from hydra_mobile.evaluation.results.rows import collect
from hydra_mobile.evaluation.results.submissions import write_submissions
from hydra_mobile.evaluation.spec import Asked, Request
from hydra_mobile.evaluation.store.predictions import Evaluated
from hydra_mobile.evaluation.store.shards import WHOLE, Shard
from hydra_mobile.evaluation.store.torchrun import merge_group
from hydra_mobile.evaluation.store.work_dir import DONE, ArtifactDir
from hydra_mobile.evaluation.workers.pool import answer_all, measure_all
from hydra_mobile.runtimes import RUNTIMES, runtime_class
from hydra_mobile.runtimes.model_ref import ModelRef, distinct


@dataclass(frozen=True)
class Task:
    """What is asked of every artifact.

    Attributes:
        benchmarks: their names.
        data: the folder of their files.
        splits: which ones of each; empty for all.
        limit: about how many questions of each split; None for all.
        threads: CPU threads altogether; 0 for all cores.
        protocol: the way of asking; "" for each benchmark's own. Also "scienceqa=NAME,...", for
            some of the benchmarks.
        workers: processes for each artifact; 0 for as many as seem right.
        shard: which part of the questions.
        grouped: the other shards are answered at the same time, into the same folder (torchrun):
            the first process waits for them and goes on with all answers.
        allow_partial: leave out questions that cannot be asked, and say so in the result.
        interpret_coreml: interpret CoreML bundles where CoreML cannot run.
        torch_device: where eager torch runs: "cpu" or "cuda", of a group each process its own.
    """

    benchmarks: Sequence[str]
    data: Path
    splits: tuple[str, ...] = ()
    limit: int | None = None
    threads: int = 0
    protocol: str = ""
    workers: int = 0
    shard: Shard = WHOLE
    grouped: bool = False
    allow_partial: bool = False
    interpret_coreml: bool = False
    torch_device: str = "cpu"


def evaluate(
    artifacts: Sequence[ModelRef], task: Task, out: Path, console: Console
) -> Outcome | None:
    """Let every artifact answer, and return the report's rows.

    Small models answer in as many processes as there are cores, one thread each: they gain little
    from a second thread. Speed is measured afterwards, one artifact at a time with all threads. The
    first trained torch artifact is the reference of agreement, parity and comparisons.

    Args:
        artifacts: in the order of the table.
        task: benchmarks and sizes.
        out: the report's folder; answers are in `answers`, and what is there is not done again.
        console: for progress.

    Returns:
        None where this process answered a shard and others have the rest.

    Raises:
        HydraError: whatever is wrong with artifacts or data; before the first question if possible.
    """
    artifacts = distinct(artifacts)
    _require_runnable(artifacts, task)
    root = out / "answers"
    cores = task.threads or _cores()
    with contextlib.ExitStack() as stack:
        ours = _sittings(artifacts, task, task.shard, root)
        held = [(sitting, stack.enter_context(sitting.locked())) for sitting in ours]
        answer_all(held, cores, task.workers, console)
        for sitting in ours:
            _finish(sitting, task)
        if not task.shard.whole:
            if not task.grouped:
                _say_how_to_go_on(ours, task, out, console)
                return None
            if task.shard.number > 1:
                return None
            whole = _sittings(artifacts, task, WHOLE, root)
            held = [(sitting, stack.enter_context(sitting.locked())) for sitting in whole]
            merge_group(ours, whole, task.shard.count, task.allow_partial)
            ours = whole
        for sitting in ours:
            for job in sitting.jobs:
                write_submissions(job)
        measure_all(held, cores, console)
        done = [collect(sitting, out) for sitting in ours]
    _say_shares(done, console)
    return comparisons_of(done, out)


def _require_runnable(artifacts: Sequence[ModelRef], task: Task) -> None:
    for name in task.benchmarks:
        if name not in BENCHMARKS:
            raise HydraError(f"Unknown benchmark `{name}`.", nearest(name, BENCHMARKS))
    if not task.benchmarks:
        raise HydraError("No benchmark was named.", nearest("", BENCHMARKS))
    for artifact in artifacts:
        if artifact.kind != "bundle" or artifact.runner not in RUNTIMES:
            continue
        runtime = runtime_class(artifact.runner)
        if runtime.is_simulated() and not task.interpret_coreml:
            raise HydraError(
                f"{artifact.path} is for {runtime.title}, which does not run on this system.",
                "Evaluate it where it does. --interpret-coreml interprets its programs here: that "
                "says what they define, not what the runtime's kernels make of them, and takes "
                "long.",
            )


def _cores() -> int:
    """Return the cores that are ours: of a group's processes on one machine, each has its share."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (count or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _sittings(
    artifacts: Sequence[ModelRef], task: Task, shard: Shard, root: Path
) -> list[ArtifactDir]:
    protocols = protocols_of(task.protocol, task.benchmarks)
    requests = [
        Request(
            name,
            task.data,
            protocols.get(name, ""),
            task.splits,
            task.limit,
            shard,
            task.allow_partial,
        )
        for name in dict.fromkeys(task.benchmarks)
    ]
    asked = [Asked.of(request) for request in requests]
    device = task.torch_device
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return [ArtifactDir.prepare(artifact, asked, root, shard, device) for artifact in artifacts]


def protocols_of(option: str, benchmarks: Sequence[str]) -> dict[str, str]:
    """Return benchmark -> protocol from "NAME,BENCHMARK=NAME,..."; "" where it names none.

    Args:
        option: one protocol for all, protocols of single benchmarks, or both.
        benchmarks: those that are evaluated.

    Raises:
        HydraError: a benchmark that is not evaluated, or two protocols for all.
    """
    general: list[str] = []
    special: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in option.split(","))):
        name, equals, protocol = item.partition("=")
        if not equals:
            general.append(item)
        elif name in benchmarks:
            special[name] = protocol
        else:
            raise HydraError(
                f"--protocol {item}: benchmark `{name}` is not evaluated.",
                nearest(name, benchmarks),
            )
    if len(general) > 1:
        raise HydraError(
            f"--protocol names several protocols for all benchmarks: {', '.join(general)}.",
            "Give one, and BENCHMARK=NAME for the others.",
        )
    return dict.fromkeys(benchmarks, general[0] if general else "") | special


def _finish(sitting: ArtifactDir, task: Task) -> None:
    """Require all answers, and mark the jobs as done."""
    for job in sitting.jobs:
        keys = job.log.keys()
        missing = [s.key for _, s in job.asked.questions if s.key not in keys]
        if missing and not task.allow_partial:
            raise HydraError(
                f"{job.title}: {len(missing)} of {len(job.asked.questions)} questions are without "
                f"an answer ({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}).",
                "The same command asks them again.",
            )
        write_json(job.folder / DONE, {"answers": len(keys)})


def _say_how_to_go_on(
    sittings: Sequence[ArtifactDir], task: Task, out: Path, console: Console
) -> None:
    count = sum(len(job.asked.questions) for sitting in sittings for job in sitting.jobs)
    console.print(
        f"Shard {task.shard}: {count} answers are in {out}. When all {task.shard.count} shards are "
        "there: hydra-mobile merge-answers SHARD... --out OUT, then the same evaluate command with "
        "--out OUT and without --shard.",
        soft_wrap=True,
        markup=False,
    )


def _say_shares(done: Sequence[Evaluated], console: Console) -> None:
    """Say how long each benchmark took, and how much of it was the runtime's."""
    for evaluated in done:
        for answered in evaluated.answered:
            run = answered.run
            share = "" if run.runner_share is None else f", {run.runner_share:.1%} in the runner"
            left = f" of {run.questions}" if answered.partial else ""
            console.print(
                f"{evaluated.sitting.artifact.name}, {run.benchmark}: {run.answered}{left} answers "
                f"in {duration(run.seconds or 0.0)} of process time{share}",
                soft_wrap=True,
                markup=False,
            )
