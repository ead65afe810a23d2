"""`hydra-mobile train`: the two stages, from a configuration to an adapter."""

from __future__ import annotations

from pathlib import Path

import typer


def train(
    overrides: list[str] = typer.Argument(None, help="section.key=value, wins over the file."),
    config: Path = typer.Option(None, help="YAML file; configs/ has commented ones."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint."),
    dry_run: bool = typer.Option(
        False,
        "--dry-run",
        help="Show the first sample as the loss sees it, the ranks, parameter counts and a memory "
        "estimate; take one step; write nothing.",
    ),
) -> None:
    """Train the projector (stage I), then HyDRA adapters and projector (stage II)."""
    from hydra_mobile.cli.console import console, prepare

    prepare()
    from hydra_mobile.config import load_config

    settings = load_config(config, overrides or ())
    if dry_run:
        from hydra_mobile.training.dry_run import dry_run as show

        show(settings, console)
        return
    from hydra_mobile.training.run import TrainingRun

    TrainingRun(settings, console).train(resume)
