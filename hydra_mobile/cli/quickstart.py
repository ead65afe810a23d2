"""`hydra-mobile quickstart`: the whole pipeline on real weights and pictures, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import CountOr, Overrides
from hydra_mobile.cli.places import FolderPlace


def quickstart(
    overrides: Overrides = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            parser=FolderPlace("quickstart"),
            help="Folder for everything that it makes",
        ),
    ] = Path("quickstart"),
    questions: Annotated[
        int,
        typer.Option(
            parser=CountOr("all"),
            metavar="N",
            help="About this many questions of each split, or all",
        ),
    ] = 120,
) -> ui.Result:
    """Run the whole pipeline on a small real model.

    Fetches, trains, merges, exports twice, evaluates and reports; goes on where it stopped.
    """
    from hydra_mobile.cli.config_keys import settings_of

    # A mistyped key is told before anything is fetched.
    settings_of(str(Path(__file__).with_name("quickstart.yaml")), overrides or ())
    ui.log_beside(out, "quickstart")
    ui.going_on("Finished steps stay; the same command goes on at the first unfinished one.")
    ui.prepare()
    from hydra_mobile.cli.quickstart_steps import run_quickstart

    return run_quickstart(out, questions, overrides or ())


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        quickstart,
        panel=panel,
        brief=True,
        examples=["hydra-mobile quickstart", "hydra-mobile quickstart stage2.steps=400"],
    )
