"""`hydra-mobile report`: any results beside each other, in one report."""

from __future__ import annotations

from pathlib import Path

import typer


def report(
    results: list[Path] = typer.Argument(
        ...,
        help="Folders of reports, report.json files, or what `score --json` printed; the trained "
        "model of the first is the reference.",
    ),
    out: Path = typer.Option(Path("report"), help="Folder for report.json, .md and .html."),
    data: Path = typer.Option(
        None,
        help="Folder of the benchmarks' data: systems of different reports are then compared "
        "question by question, from the answers that lie in the reports' folders.",
    ),
    title: str = typer.Option("", help="Title of the page."),
) -> None:
    """Put results beside each other; warn where they were not asked in the same way."""
    from hydra_mobile.cli.console import console, prepare, say

    prepare()
    from hydra_mobile.evaluation.results.report_merge import results_beside
    from hydra_mobile.reporting.console import print_report
    from hydra_mobile.reporting.write import write_report

    made = results_beside(results, out, data=data, title=title)
    files = write_report(made, out)
    print_report(made, console)
    for file in files:
        say(str(file))
