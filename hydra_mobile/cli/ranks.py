"""`hydra-mobile ranks ...`: shows, draws and trains again the ranks that a run had."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Overrides, Run
from hydra_mobile.cli.places import FilePlace, FolderPlace
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.own_files import PLOT, require_replaceable_file

app = ui.new_app("Show, plot or replay the ranks of a run.")


def show(
    run: Run,
    all_layers: Annotated[bool, typer.Option("--all", help="A row for each layer")] = False,
) -> ui.Result:
    """Show every rank event, the last map, and what it cost.

    The run may still be training.
    """
    ui.prepare()
    from hydra_mobile.api.ranks import read_record
    from hydra_mobile.cli.rank_tables import record_data, show_record

    record = read_record(run)
    show_record(record, all_layers)
    return ui.Result(record_data(record), next=[f"hydra-mobile ranks plot {run}"])


def plot(
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=FilePlace(PLOT), show_default="RUN/ranks.svg", help="SVG"
        ),
    ] = None,
) -> ui.Result:
    """Draw the maps in force, and mean ranks over the steps.

    The run may still be training.
    """
    made = out or run / "ranks.svg"
    if made.suffix.lower() != ".svg":
        raise ConfigError(
            f"{made} is not an SVG", "name a file that ends in .svg", where="--out", found=made.name
        )
    require_replaceable_file(made, PLOT)
    ui.prepare()
    from hydra_mobile.api.ranks import read_record

    read_record(run).plot().save(made)
    ui.line(str(made))
    return ui.Result({"path": made}, brief=str(made))


def replay(
    run: Run,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=FolderPlace("run"),
            show_default="RUN-replay",
            help="New run folder",
        ),
    ] = None,
    final: Annotated[
        bool,
        typer.Option("--final", help="Train at the last map from the first step"),
    ] = False,
) -> ui.Result:
    """Train again with the recorded ranks of a run.

    Settings are the run's own, and nothing is measured for the ranks: it shows whether the moves
    were needed.
    """
    made = out or Path(f"{str(run).rstrip('/')}-replay")
    if not made.exists():
        ui.log_beside(made, "replay")
    ui.prepare()
    from hydra_mobile.api.ranks import read_record
    from hydra_mobile.api.ranks import replay as train_again

    record = read_record(run)
    ui.title(f"Replaying the ranks of {run} in {made}")
    ui.going_on("The last checkpoint stays.", f"hydra-mobile train --resume {made}")
    if not record.finished:
        ui.warn(f"{run} is not finished: its ranks up to step {record.facts.steps} are repeated")
    found = train_again(run, made, *(overrides or ()), final=final, log=ui.say, progress=progress)
    for text in found.lines():
        ui.line(text)
    return ui.Result(
        {"path": made, **found.to_dict()}, brief=str(made), next=[f"hydra-mobile ranks show {made}"]
    )


ui.add(app, show, schema="ranks-show", examples=["hydra-mobile ranks show runs/emojiqa"])
ui.add(app, plot, schema="ranks-plot", brief=True)
ui.add(app, replay, schema="ranks-replay", brief=True)
