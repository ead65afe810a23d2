"""Several artefacts, several benchmarks, one table: who answers what, and what comes of it.

Knows the order of the work; processes, folders, shards and rows are other modules'. Called by
`report`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hydra_mobile.errors import HydraError
from hydra_mobile.evaluation.artefacts import Artefact
from hydra_mobile.evaluation.asked import Asked, Request
from hydra_mobile.evaluation.benchmarks import BENCHMARKS
from hydra_mobile.evaluation.compare import AnswerSet, compare, write_flips
from hydra_mobile.evaluation.coreml_execution import native_available
from hydra_mobile.evaluation.merging import ShardAnswers, merge
from hydra_mobile.evaluation.results import Evaluated, collect, parity_of, system_of
from hydra_mobile.evaluation.shards import WHOLE, Shard
from hydra_mobile.evaluation.sittings import DONE, Job, Sitting, request_of
from hydra_mobile.evaluation.submissions import write_submissions
from hydra_mobile.evaluation.worker_pool import answer_all, measure_all
from hydra_mobile.files import read_json, write_json
from hydra_mobile.progress import duration
from hydra_mobile.registry import nearest
from hydra_mobile.reporting.schema import Comparison, ParityRow, SystemResult

_POLL_SECONDS = 1.0
#: The first process of a group gives up on the others when none of them wrote for so long.
_PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True)
class Task:
    """What is asked of every artefact.

    Attributes:
        benchmarks: their names.
        data: the folder of their files.
        splits: which ones of each; empty for all.
        limit: about how many questions of each split; None for all.
        threads: CPU threads altogether; 0 for all cores.
        protocol: the way of asking; "" for each benchmark's own. Also "scienceqa=NAME,...", for
            some of the benchmarks.
        workers: processes for each artefact; 0 for as many as seem right.
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


@dataclass(frozen=True)
class Outcome:
    """The rows of the report."""

    systems: tuple[SystemResult, ...]
    parity: tuple[ParityRow, ...]
    comparisons: tuple[Comparison, ...]


def evaluate(
    artefacts: Sequence[Artefact], task: Task, out: Path, console: Console
) -> Outcome | None:
    """Let every artefact answer, and return the report's rows.

    Small models answer in as many processes as there are cores, one thread each: they gain little
    from a second thread. Speed is measured afterwards, one artefact at a time with all threads. The
    first trained torch artefact is the reference of agreement, parity and comparisons.

    Args:
        artefacts: in the order of the table.
        task: benchmarks and sizes.
        out: the report's folder; answers are in `answers`, and what is there is not done again.
        console: for progress.

    Returns:
        None where this process answered a shard and others have the rest.

    Raises:
        HydraError: whatever is wrong with artefacts or data; before the first question if possible.
    """
    artefacts = distinct(artefacts)
    _require_runnable(artefacts, task)
    root = out / "answers"
    cores = task.threads or _cores()
    with contextlib.ExitStack() as stack:
        ours = _sittings(artefacts, task, task.shard, root)
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
            whole = _sittings(artefacts, task, WHOLE, root)
            held = [(sitting, stack.enter_context(sitting.locked())) for sitting in whole]
            _merge_group(ours, whole, task)
            ours = whole
        for sitting in ours:
            for job in sitting.jobs:
                write_submissions(job)
        measure_all(held, cores, console)
        done = [collect(sitting, out) for sitting in ours]
    _say_shares(done, console)
    return _outcome(done, out)


def distinct(artefacts: Sequence[Artefact]) -> list[Artefact]:
    """Return the artefacts with names that differ.

    Raises:
        HydraError: one is there twice.
    """
    seen: dict[str, Artefact] = {}
    for artefact in artefacts:
        twin = seen.setdefault(artefact.identity, artefact)
        if twin is not artefact:
            raise HydraError(
                f"{twin.path} and {artefact.path} are the same artefact.", "Give it once."
            )
    counts = Counter(artefact.name for artefact in artefacts)
    endings = Counter((a.name, a.path.absolute().name) for a in artefacts)

    def name_of(artefact: Artefact) -> str:
        if counts[artefact.name] == 1:
            return artefact.name
        path = artefact.path.absolute()
        shared = endings[artefact.name, path.name] > 1
        return (
            f"{artefact.name} ({path.parent.name}/{path.name})"
            if shared
            else (f"{artefact.name} ({path.name})")
        )

    return [dataclasses.replace(artefact, name=name_of(artefact)) for artefact in artefacts]


def _require_runnable(artefacts: Sequence[Artefact], task: Task) -> None:
    for name in task.benchmarks:
        if name not in BENCHMARKS:
            raise HydraError(f"Unknown benchmark `{name}`.", nearest(name, BENCHMARKS))
    if not task.benchmarks:
        raise HydraError("No benchmark was named.", nearest("", BENCHMARKS))
    for artefact in artefacts:
        if artefact.runner == "coreml" and not (task.interpret_coreml or native_available()):
            raise HydraError(
                f"{artefact.path} is a CoreML bundle, and CoreML runs on macOS only.",
                "Evaluate it on a Mac. --interpret-coreml interprets its programs here: that says "
                "what they define, not what Apple's kernels make of them, and takes long.",
            )


def _cores() -> int:
    """Return the cores that are ours: of a group's processes on one machine, each has its share."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (count or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _sittings(artefacts: Sequence[Artefact], task: Task, shard: Shard, root: Path) -> list[Sitting]:
    requests = [
        Request(name, task.data, task.protocol, task.splits, task.limit, shard, task.allow_partial)
        for name in dict.fromkeys(task.benchmarks)
    ]
    asked = [Asked.of(request) for request in requests]
    device = task.torch_device
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return [Sitting.prepare(artefact, asked, root, shard, device) for artefact in artefacts]


def _protocol_of(benchmark: str, task: Task) -> str:
    """Return the protocol that the task names for a benchmark."""
    general, special = "", {}
    for item in filter(None, task.protocol.split(",")):
        name, equals, protocol = item.partition("=")
        if not equals:
            general = item
        elif name in task.benchmarks:
            special[name] = protocol
        else:
            raise HydraError(
                f"--protocol {item} is for a benchmark that is not asked.",
                nearest(name, task.benchmarks),
            )
    return special.get(benchmark, general)


def _finish(sitting: Sitting, task: Task) -> None:
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


def _merge_group(ours: Sequence[Sitting], whole: Sequence[Sitting], task: Task) -> None:
    """Wait for the other processes' shards and put all answers into the jobs of `whole`."""
    for our, all_of in zip(ours, whole, strict=True):
        for job, target in zip(our.jobs, all_of.jobs, strict=True):
            shards = [
                _wait_for(job, all_of.folder, Shard(number, task.shard.count))
                for number in range(1, task.shard.count + 1)
            ]
            merged = merge(shards, all_of.folder, allow_partial=task.allow_partial)
            if merged.folder != target.folder:
                raise HydraError(
                    f"{target.title}: pictures changed while they were asked about.",
                    "Run the same command again.",
                )
            write_json(target.folder / "request.json", request_of(target))


def _wait_for(job: Job, folder: Path, shard: Shard) -> ShardAnswers:
    """Return a shard's folder once the process that answers it has finished."""
    began = time.time()
    while True:
        for request in (folder / shard.folder).glob(f"{job.asked.benchmark.name}-*/request.json"):
            made = ShardAnswers(request.parent, read_json(request, "the request of a benchmark"))
            alike = made.kind == ShardAnswers(job.folder, request_of(job)).kind
            if alike and (request.parent / DONE).is_file():
                return made
        newest = max(
            (file.stat().st_mtime for file in folder.rglob("answers*.jsonl")), default=began
        )
        if time.time() - max(began, newest) > _PATIENCE_SECONDS:
            raise HydraError(
                f"{job.title}: shard {shard} wrote no answer for "
                f"{_PATIENCE_SECONDS / 60:.0f} minutes; expected it in {folder / shard.folder}.",
                "Processes of one group share --out. Shards of several machines: "
                "`hydra-mobile merge-answers`.",
            )
        time.sleep(_POLL_SECONDS)


def _say_how_to_go_on(sittings: Sequence[Sitting], task: Task, out: Path, console: Console) -> None:
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
                f"{evaluated.sitting.artefact.name}, {run.benchmark}: {run.answered}{left} answers "
                f"in {duration(run.seconds or 0.0)} of process time{share}",
                soft_wrap=True,
                markup=False,
            )


def _outcome(done: Sequence[Evaluated], out: Path) -> Outcome:
    reference = next((e for e in done if e.role == "reference"), None)
    parity = [
        parity_of(e, reference)
        for e in done
        if reference is not None and e is not reference and e.role != "untrained"
    ]
    return Outcome(
        systems=tuple(system_of(e, reference) for e in done),
        parity=tuple(row for row in parity if row is not None),
        comparisons=tuple(_comparisons(done, reference, out)),
    )


def _comparisons(
    done: Sequence[Evaluated], reference: Evaluated | None, out: Path
) -> list[Comparison]:
    """Compare every system with the reference, benchmark by benchmark."""
    made = []
    for evaluated in done:
        if reference is None or evaluated is reference:
            continue
        for ours, theirs in zip(evaluated.answered, reference.answered, strict=True):
            if set(ours.answers) != set(theirs.answers):
                continue  # partial results of different questions cannot be subtracted
            asked = ours.job.asked
            compared = compare(
                asked.benchmark,
                asked.samples,
                AnswerSet(evaluated.sitting.artefact.name, ours.texts, ours.run.facts),
                AnswerSet(reference.sitting.artefact.name, theirs.texts, theirs.run.facts),
                partial=ours.partial,
            )
            made.append(write_flips(compared, out))
    return made
