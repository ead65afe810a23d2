"""`hydra-mobile train`: the two stages, from a configuration to an adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from hydra_mobile.training.dry_run import DryRun


def train(
    overrides: list[str] = typer.Argument(None, help="section.key=value, wins over the file."),
    config: str = typer.Option("", help="Packaged configuration (`config list`) or YAML file."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint."),
    dry_run: bool = typer.Option(
        False,
        "--dry-run",
        help="Show the first sample as the loss sees it, the ranks, parameter counts and a memory "
        "estimate; take one step; write nothing.",
    ),
) -> None:
    """Train the projector (stage I), then HyDRA adapters and projector (stage II)."""
    from hydra_mobile.cli.console import prepare, progress, say

    prepare()
    from hydra_mobile.config import load_config

    settings = load_config(config or None, overrides or ())
    if dry_run:
        from hydra_mobile.training.dry_run import dry_run as show

        _show(show(settings, say, progress))
        return
    from hydra_mobile.training.run import TrainingRun

    TrainingRun(settings, say, progress).train(resume)


def _show(result: DryRun) -> None:
    """Print a dry run; what the loss learns is green and, for a pipe, in [brackets]."""
    from rich.text import Text

    from hydra_mobile.cli.console import console, say

    say("\nFirst row as the loss sees it (marked: learned):")
    row = Text()
    for text, learned in result.row:
        row.append(f"[{text}]" if learned else text, style="bold green" if learned else "dim")
    console.print(row)
    for line in result.lines():
        say(line)
