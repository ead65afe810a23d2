"""`hydra-mobile report`: any results beside each other, in one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Data, existing
from hydra_mobile.cli.places import FolderPlace


def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...",
            help="Folders of reports, report.json files, or what `score --json` printed; the "
            "trained model of the first is the reference",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", parser=FolderPlace("report"), help="Folder of the report"),
    ] = Path("report"),
    data: Data = None,
    title: Annotated[str, typer.Option(metavar="TEXT", help="Title of the page")] = "",
) -> ui.Result:
    """Put results side by side in one report.

    With --data, systems of different reports are compared question by question. Results that were
    not asked in the same way are marked.
    """
    for result in results:
        existing(result, "RESULT")
    ui.prepare()
    from hydra_mobile.api.evaluate import side_by_side
    from hydra_mobile.cli.report_view import report_data, show_report

    ui.title(f"Putting {len(results)} results side by side")
    made = side_by_side(results, out, data=data, title=title)
    show_report(made.content, made.files)
    return ui.Result(report_data(made.content, made.files))


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        report,
        panel=panel,
        examples=["hydra-mobile report report-int4 report-uniform --out both"],
    )
