"""Benchmarks: what there is, whether their data are complete, answers scored without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.checks.check import BenchmarkCheck, Depth
from hydra_mobile.benchmarks.checks.check import check_benchmark as check
from hydra_mobile.benchmarks.checks.report import check_lines
from hydra_mobile.core.progress import SILENT, Progress, counted
from hydra_mobile.core.quiet import quietly
from hydra_mobile.evaluation.results.score_file import Scored, lines_of, score_answers

__all__ = [
    "BenchmarkCheck",
    "BenchmarkTable",
    "Pictures",
    "Scored",
    "benchmarks",
    "check_benchmark",
    "check_lines",
    "lines_of",
    "score",
    "write_table",
]

Pictures = Literal["sample", "decode", "none"]
#: The older names of these depths.
_DEPTHS: dict[str, Depth] = {"sample": "some", "decode": "all", "none": "none"}


def benchmarks() -> dict[str, type[Benchmark]]:
    """Return every benchmark by name."""
    return {name: Benchmark.named(name) for name in BENCHMARKS}


def check_benchmark(
    name: str,
    data: str | Path,
    *,
    protocol: str = "",
    splits: Sequence[str] = (),
    pictures: Pictures = "sample",
    progress: Progress = SILENT,
) -> BenchmarkCheck:
    """Look over the data of a benchmark: which files are there, how much is in them.

    Args:
        name: of the benchmark.
        data: the folder of all benchmarks, or of this one.
        protocol: "": the benchmark's own.
        splits: empty: those that count.
        pictures: look for all and open a few ("sample"), open all ("decode"), or neither.
        progress: shows how many images were opened, where all are.

    Raises:
        HydraError: the benchmark or the protocol is unknown, or there is no such folder.
    """
    # Looking for files takes no time that is worth showing; opening thousands does.
    shown = progress if pictures == "decode" else SILENT
    with quietly(), counted(shown, "images") as count:
        return check(
            name,
            Path(data),
            protocol=protocol,
            splits=splits,
            pictures=_DEPTHS[pictures],
            progress=count,
        )


@dataclass(frozen=True)
class BenchmarkTable:
    """A benchmark written as one table.

    Attributes:
        path: the table.
        questions: its rows.
        without_picture: those of them that have no image.
    """

    path: Path
    questions: int
    without_picture: int


def write_table(
    name: str,
    data: str | Path,
    out: str | Path,
    *,
    protocol: str = "",
    splits: Sequence[str] = (),
    limit: int | None = None,
    share_pictures: bool = False,
    only_pictures: bool = False,
    progress: Progress = SILENT,
) -> BenchmarkTable:
    """Write a benchmark as the base64 table that VLMEvalKit and MMBench's tools read.

    Args:
        name: of the benchmark.
        data: the folder of all benchmarks, or of this one.
        out: the table's file.
        protocol: "": the benchmark's own.
        splits: empty: those that count.
        limit: about how many questions of each split; None: all.
        share_pictures: write each image once; other rows name the row that has it.
        only_pictures: leave out questions without an image.
        progress: shows how many rows are written.

    Raises:
        HydraError: the benchmark, protocol or a split is unknown, or a file cannot be read.
    """
    from hydra_mobile.benchmarks.checks.base64_table import rows_of
    from hydra_mobile.benchmarks.checks.base64_table import write_table as write

    opened = Benchmark.open(name, Path(data), protocol)
    samples = opened.samples(splits=tuple(splits), limit=limit)
    if only_pictures:
        samples = [sample for sample in samples if sample.image is not None]
    rows = rows_of(opened, samples)
    with counted(progress, "rows") as count:
        bare = write(Path(out), rows, share=share_pictures, progress=count)
    return BenchmarkTable(Path(out), len(rows), bare)


def score(
    benchmark: str,
    answers: str | Path,
    data: str | Path,
    *,
    protocol: str = "",
    splits: Sequence[str] = (),
    allow_partial: bool = False,
) -> Scored:
    """Score a file of answers, without a model.

    Args:
        benchmark: its name.
        answers: file or folder of answers, ours or of the benchmark's own tools.
        data: the folder of all benchmarks, or of this one.
        protocol: "": the benchmark's own.
        splits: empty: those that count.
        allow_partial: score what is there where answers are missing.

    Raises:
        DataError: answers are missing, doubled or belong to other questions.
        HydraError: the benchmark, protocol or a split is unknown.
    """
    with quietly():
        return score_answers(
            benchmark,
            Path(answers),
            Path(data),
            protocol=protocol,
            splits=tuple(splits),
            allow_partial=allow_partial,
        )
