"""`hydra-mobile ranks ...`: shows, draws and trains again the ranks that a run had."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(
    help="Show, draw or train again the ranks of a run.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _ranks() -> None:
    pass


@app.command()
def show(
    run: Path = typer.Argument(..., help="Run folder; it may still be training."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON in place of tables."),
) -> None:
    """Print every rank event, the last map, and what finding the ranks cost."""
    from hydra_mobile.cli.console import console, prepare

    prepare()
    from hydra_mobile.cli.rank_record import read_record
    from hydra_mobile.cli.rank_tables import as_json_text, print_record

    record = read_record(run)
    if as_json:
        typer.echo(as_json_text(record))
    else:
        print_record(record, console)


@app.command()
def plot(
    run: Path = typer.Argument(..., help="Run folder; it may still be training."),
    out: Path = typer.Option(None, help="SVG to write; default: ranks.svg inside the run."),
) -> None:
    """Draw the maps in force side by side, and mean ranks over the steps."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_mobile.cli.rank_record import read_record
    from hydra_mobile.core.errors import ConfigError
    from hydra_mobile.core.files import write_atomically
    from hydra_mobile.reporting.rank_history_svg import rank_history_file

    out = out or run / "ranks.svg"
    if out.suffix.lower() != ".svg":
        raise ConfigError(f"--out {out} is not an SVG.", "Name a file that ends in .svg.")
    record = read_record(run)
    drawing = rank_history_file(record.facts, record.config.ranks.r_ref)
    with write_atomically(out) as temporary:
        temporary.write_text(drawing, encoding="utf-8")
    say(f"drawn to {out}")


@app.command()
def replay(
    run: Path = typer.Argument(..., help="Run folder whose ranks are repeated."),
    overrides: list[str] = typer.Argument(
        None, help="section.key=value, wins over the run's own, for example seed=1."
    ),
    out: Path = typer.Option(..., help="New run folder."),
    final: bool = typer.Option(
        False, "--final", help="Train at the last map from the first step, not at each in turn."
    ),
) -> None:
    """Train again with the settings and the recorded ranks of a run; nothing is measured."""
    from hydra_mobile.cli.console import prepare, progress, say

    prepare()
    from hydra_mobile.cli.rank_record import comparison, read_record, refuse_existing, replay_config

    record = read_record(run)
    refuse_existing(out)
    settings = replay_config(run, out, final, overrides or ())
    if not (run / "summary.json").is_file():
        say(f"{run} is not finished: its ranks up to step {record.facts.steps} are repeated")
    from hydra_mobile.training.run import TrainingRun

    TrainingRun(settings, say, progress).train(False)
    for line in comparison(run, out):
        say(line)
