"""Several artifacts and several benchmarks: answers, timings and the rows of one report."""

from __future__ import annotations

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import write_json
from hydra_mobile.core.progress import SILENT, Log, Progress, duration, silent
from hydra_mobile.core.registry import nearest
from hydra_mobile.devices import device_class
from hydra_mobile.evaluation.results.comparisons import Results, comparisons_of
from hydra_mobile.evaluation.results.rows import collect
from hydra_mobile.evaluation.results.submissions import write_submissions
from hydra_mobile.evaluation.spec import EvalSpec
from hydra_mobile.evaluation.store.predictions import ArtifactResults
from hydra_mobile.evaluation.store.shards import WHOLE, Shard
from hydra_mobile.evaluation.store.torchrun import merge_group
from hydra_mobile.evaluation.store.work_dir import DONE, ArtifactDir
from hydra_mobile.evaluation.workers.pool import answer_all, measure_all
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.model_ref import ModelRef, distinct


@dataclass(frozen=True)
class EvalSettings:
    """What every artifact is evaluated on, and with how many processes.

    Attributes:
        benchmarks: their names.
        data: the folder of their files.
        splits: which ones of each; empty for all.
        limit: about how many questions of each split; None for all.
        threads: CPU threads altogether; 0 for all cores.
        protocol: one for all benchmarks, "scienceqa=NAME,..." for some of them, or both; "" for
            each benchmark's default.
        workers: processes for each artifact; 0 selects automatically.
        shard: which part of the questions.
        grouped: the other shards are answered at the same time, into the same folder (torchrun):
            the first process waits for them and goes on with all answers.
        allow_partial: leave out questions that cannot be asked, and say so in the result.
        interpret_coreml: interpret CoreML bundles where CoreML cannot run.
        torch_device: where eager torch runs: "cpu" or "cuda", of a group each process its own;
            "auto" until a GPU was looked for.
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

    @functools.cached_property
    def specs(self) -> list[EvalSpec]:
        """The questions of each benchmark, read once."""
        return _specs(self)


def evaluate(
    artifacts: Sequence[ModelRef],
    settings: EvalSettings,
    out: Path,
    log: Log = silent,
    progress: Progress = SILENT,
) -> Results | None:
    """Answer the benchmarks with every artifact, and return the report's rows.

    Small models answer in as many processes as there are cores, one thread each: they gain little
    from a second thread. Speed is measured afterwards, one artifact at a time with all threads. The
    first trained torch artifact is the reference of agreement, parity and comparisons.

    Args:
        artifacts: in the order of the table.
        settings: benchmarks and sizes.
        out: the report's folder; answers are in `answers`, and what is there is not done again.
        log: receives a line for each event.
        progress: shows the stages.

    Returns:
        None where this process answered a shard and others have the rest.

    Raises:
        HydraError: whatever is wrong with artifacts or data; before the first question if possible.
    """
    artifacts = distinct(artifacts)
    _require_runnable(artifacts, settings)
    root = out / "answers"
    cores = settings.threads or _cores()
    shard = settings.shard
    specs = list(settings.specs)
    with contextlib.ExitStack() as stack:
        ours = _prepared(artifacts, specs, settings, shard, root)
        held = [(each, stack.enter_context(each.locked())) for each in ours]
        answer_all(held, cores, settings.workers, progress)
        for each in ours:
            _finish(each, settings)
        if not shard.whole:
            if not settings.grouped:
                _log_next_step(ours, settings, out, log)
                return None
            if shard.number > 1:
                return None
            specs = [spec.part(WHOLE) for spec in specs]
            whole = _prepared(artifacts, specs, settings, WHOLE, root)
            held = [(each, stack.enter_context(each.locked())) for each in whole]
            merge_group(ours, whole, shard.count, settings.allow_partial)
            ours = whole
        for each in ours:
            for task in each.tasks:
                write_submissions(task)
        measure_all(held, cores, progress)
        done = [collect(each, out) for each in ours]
    _log_times(done, log)
    return comparisons_of(done, out)


def answer(
    artifacts: Sequence[ModelRef], settings: EvalSettings, out: Path, progress: Progress = SILENT
) -> None:
    """Answer the benchmarks, and leave speed and report to a later `evaluate` into `out`.

    Arguments and errors are those of `evaluate`.
    """
    artifacts = distinct(artifacts)
    _require_runnable(artifacts, settings)
    specs, cores = list(settings.specs), settings.threads or _cores()
    with contextlib.ExitStack() as stack:
        ours = _prepared(artifacts, specs, settings, settings.shard, out / "answers")
        held = [(each, stack.enter_context(each.locked())) for each in ours]
        answer_all(held, cores, settings.workers, progress)
        for each in ours:
            _finish(each, settings)


def _require_runnable(artifacts: Sequence[ModelRef], settings: EvalSettings) -> None:
    called = Counter(Benchmark.named(name).name for name in dict.fromkeys(settings.benchmarks))
    if doubled := [name for name, count in called.items() if count > 1]:
        raise HydraError(
            f"Two benchmarks are called {doubled[0]}.",
            "A file's name is its benchmark's: give one of the files another name.",
        )
    if not settings.benchmarks:
        raise HydraError("No benchmark was named.", nearest("", BENCHMARKS))
    for artifact in artifacts:
        if artifact.kind != "bundle":
            continue
        if device_class(artifact.device).moves_bundles:
            continue
        runtime = runtime_class(artifact.runner)
        if runtime.is_simulated() and not settings.interpret_coreml:
            raise HydraError(
                f"{artifact.path} is for {runtime.title}, which does not run on this system.",
                f"Evaluate it where it does. `hydra-mobile verify {artifact.path}` interprets its "
                "programs here: that says what they define, not what the runtime's kernels make "
                "of them. So does evaluate(..., interpret_coreml=True) of the Python API; it takes "
                "long.",
            )
    for artifact in artifacts:
        if artifact.kind == "bundle":
            # Hashed here, once for all processes that load it.
            Bundle.open(artifact.path)


def _cores() -> int:
    """Return the cores that are ours: of a group's processes on one machine, each has its share."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (count or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _specs(settings: EvalSettings) -> list[EvalSpec]:
    protocols = protocols_of(settings.protocol, settings.benchmarks)
    return [
        EvalSpec.open(
            name,
            settings.data,
            protocol=protocols[name],
            splits=settings.splits,
            limit=settings.limit,
            shard=settings.shard,
            allow_partial=settings.allow_partial,
        )
        for name in dict.fromkeys(settings.benchmarks)
    ]


def _prepared(
    artifacts: Sequence[ModelRef],
    specs: Sequence[EvalSpec],
    settings: EvalSettings,
    shard: Shard,
    root: Path,
) -> list[ArtifactDir]:
    device = settings.torch_device
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return [ArtifactDir.prepare(artifact, specs, root, shard, device) for artifact in artifacts]


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


def _finish(folder: ArtifactDir, settings: EvalSettings) -> None:
    """Require all answers, and mark the tasks as done."""
    for task in folder.tasks:
        keys, questions = task.log.keys(), task.spec.questions
        missing = [question.key for question in questions if question.key not in keys]
        if missing and not settings.allow_partial:
            raise HydraError(
                f"{task.title}: {len(missing)} of {len(questions)} questions are without "
                f"an answer ({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}).",
                "Run the same command again: it answers only those.",
            )
        write_json(task.folder / DONE, {"answers": len(keys)})


def _log_next_step(
    folders: Sequence[ArtifactDir], settings: EvalSettings, out: Path, log: Log
) -> None:
    count = sum(len(task.spec.questions) for folder in folders for task in folder.tasks)
    shard = settings.shard
    log(
        f"Shard {shard}: {count} answers are in {out}. When all {shard.count} shards are "
        "complete: hydra-mobile evaluate SHARD... --from-shards --out OUT, then the same evaluate "
        "command with --out OUT and without --shard."
    )


def _log_times(done: Sequence[ArtifactResults], log: Log) -> None:
    """Log how long each benchmark took, and how much of it inside the runtime."""
    for results in done:
        for predictions in results.predictions:
            run = predictions.run
            share = "" if run.runner_share is None else f", {run.runner_share:.1%} in the runtime"
            left = f" of {run.questions}" if predictions.partial else ""
            log(
                f"{results.name}, {run.benchmark}: {run.answered}{left} answers "
                f"in {duration(run.seconds or 0.0)} of process time{share}"
            )
