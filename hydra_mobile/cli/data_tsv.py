"""`hydra-mobile data tsv`: a benchmark as one table with its pictures inside."""

from __future__ import annotations

from pathlib import Path

import typer

from hydra_mobile.benchmarks import BENCHMARKS


def tsv(
    benchmark: str = typer.Argument(..., help=f"One of {', '.join(BENCHMARKS)}."),
    data: Path = typer.Option(
        ..., help="The folder that holds the official folders, or the benchmark's own."
    ),
    out: Path = typer.Option(..., help="The table to write, .tsv."),
    splits: str = typer.Option("", help="Comma-separated splits; empty: those that are evaluated."),
    limit: int = typer.Option(0, help="At most about this many questions of each split; 0: all."),
    protocol: str = typer.Option(
        "", help="Whose files are taken where they differ (MMBench); empty: llava-1.5."
    ),
    share_pictures: bool = typer.Option(
        False,
        help="Write each picture once; other rows about it hold the index of the row that has it.",
    ),
    only_pictures: bool = typer.Option(
        False, help="Leave out questions without a picture (ScienceQA), which some tools need."
    ),
) -> None:
    """Write a benchmark as the base64 table that VLMEvalKit and MMBench's tools read."""
    from hydra_mobile.cli.console import prepare, progress, say

    prepare()
    from hydra_mobile.benchmarks.base import Benchmark
    from hydra_mobile.benchmarks.checks.base64_table import rows_of, write_table
    from hydra_mobile.core.progress import counted

    opened = Benchmark.open(benchmark, data, protocol)
    chosen = tuple(split for split in splits.split(",") if split)
    samples = opened.samples(splits=chosen, limit=limit or None)
    if only_pictures:
        samples = [sample for sample in samples if sample.image is not None]
    rows = rows_of(opened, samples)
    with counted(progress, "rows") as count:
        bare = write_table(out, rows, share=share_pictures, progress=count)
    without = f", {bare} of them without a picture" if bare else ""
    say(f"{out} holds {len(rows)} questions of {benchmark}{without}.")
