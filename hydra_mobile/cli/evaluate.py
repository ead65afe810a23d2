"""`hydra-mobile evaluate`: scores, timings and agreement of any artefacts, in one report."""

from __future__ import annotations

from pathlib import Path

import typer


def evaluate(
    artefacts: list[str] = typer.Argument(
        ...,
        help="Runs, merged folders, bundles or a base; the first trained torch one is the "
        "reference of the others.",
    ),
    benchmarks: str = typer.Option("emojiqa", help="Benchmark to run."),
    data: Path = typer.Option(..., help="Its data folder."),
    out: Path = typer.Option(Path("report"), help="Folder for report.json, .md and .html."),
    splits: str = typer.Option("", help="Comma-separated splits; empty: all."),
    limit: int = typer.Option(0, help="About this many questions per split; 0: all."),
    threads: int = typer.Option(0, help="CPU threads; 0: all cores."),
) -> None:
    """Answer a benchmark with each artefact and write one report."""
    from hydra_mobile.cli.console import console, prepare

    prepare()
    from hydra_mobile.evaluation.artefacts import artefact_at
    from hydra_mobile.evaluation.evaluate import Task
    from hydra_mobile.evaluation.report import report_on

    chosen = tuple(split for split in splits.split(",") if split)
    task = Task(benchmarks, data, chosen, limit or None, threads)
    report_on([artefact_at(a) for a in artefacts], task, out, console)
