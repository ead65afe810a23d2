"""Systems of different reports, compared question by question from the answers that were kept.

A report knows where its answers are; with the benchmark's data they can be read and scored again,
so that two results get the paired interval that their separate intervals cannot give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.benchmarks.base import Benchmark, Sample
from hydra_mobile.benchmarks.own.names import is_known
from hydra_mobile.core.errors import DataError
from hydra_mobile.evaluation.results.paired import AnswerSet, compare, write_flips
from hydra_mobile.reporting.results import BenchmarkRun, Comparison, SystemResult


@dataclass(frozen=True)
class Kept:
    """A system whose answers may still be there.

    Attributes:
        name: its name in the new report.
        folder: of the report that it comes from.
        system: its row there.
    """

    name: str
    folder: Path
    system: SystemResult


@dataclass(frozen=True)
class Across:
    """What came of comparing.

    Attributes:
        comparisons: one for each benchmark and system but the reference.
        left_out: why others could not be compared, a sentence each.
    """

    comparisons: tuple[Comparison, ...]
    left_out: tuple[str, ...]


def compare_across(kept: Sequence[Kept], reference: Kept, data: Path, out: Path) -> Across:
    """Compare every system with `reference` on each benchmark that both answered.

    Args:
        kept: the systems; `reference` may be among them.
        reference: what is subtracted.
        data: the folder of the benchmarks' data.
        out: the folder of the new report, for the flipped answers.

    Raises:
        DataError: the benchmark's data are missing or answers cannot be read.
    """
    found: list[Comparison] = []
    left_out: list[str] = []
    for run in reference.system.runs:
        others = [one for one in kept if one is not reference and one.system.run(run.benchmark)]
        if not others:
            continue
        questions = data / f"{run.benchmark}.jsonl"
        if not is_known(run.benchmark) and not questions.is_file():
            left_out.append(f"{run.benchmark} was not compared: there is no {questions}")
            continue
        benchmark = Benchmark.open(run.benchmark, data, run.protocol)
        samples = benchmark.samples()
        theirs = _answers(reference, run, benchmark, samples)
        if theirs is None:
            left_out.append(_gone(reference, run))
            continue
        for one in others:
            own = one.system.run(run.benchmark)
            assert own is not None
            ours = _answers(one, own, benchmark, samples)
            if ours is None:
                left_out.append(_gone(one, own))
                continue
            try:
                compared = compare(benchmark, samples, ours, theirs, partial=True)
            except DataError as error:
                left_out.append(error.what)
                continue
            found.append(write_flips(compared, out))
    return Across(tuple(found), tuple(left_out))


def _answers(
    kept: Kept, run: BenchmarkRun, benchmark: Benchmark, samples: Sequence[Sample]
) -> AnswerSet | None:
    file = kept.folder / run.answers
    if not run.answers or not file.exists():
        return None
    texts = benchmark.read_answers(file, samples, allow_partial=True)
    # The protocol's name is a fact too; a report of an older version has nothing else.
    return AnswerSet(kept.name, texts, run.facts or {"protocol": run.protocol})


def _gone(kept: Kept, run: BenchmarkRun) -> str:
    where = f"{run.answers} is not in its folder" if run.answers else "it names no answers file"
    return f"{kept.name} was not compared on {run.benchmark}: {where}"
