"""`hydra-mobile quickstart`: the whole pipeline on real weights and pictures, step by step."""

from __future__ import annotations

from pathlib import Path

import typer


def quickstart(
    overrides: list[str] = typer.Argument(None, help="section.key=value for the training."),
    out: Path = typer.Option(Path("quickstart"), help="Folder for everything it makes."),
    questions: int = typer.Option(312, help="About this many questions per split; 0: all 480."),
) -> None:
    """Fetch, train, merge, export four ways, evaluate, report; goes on where it stopped."""
    from hydra_mobile.cli.console import console, prepare

    prepare()
    from hydra_mobile.cli.quickstart_steps import run_quickstart

    run_quickstart(out, questions, console, overrides or ())
