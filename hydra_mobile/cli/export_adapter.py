"""`hydra-mobile export-adapter`: another adapter for a bundle that has a base program."""

from __future__ import annotations

from pathlib import Path

import typer


def export_adapter(
    run: Path = typer.Argument(..., help="Run folder, or adapter folder."),
    bundle: Path = typer.Option(..., help="Bundle made with `export --adapter separate`."),
    name: str = typer.Option(..., help="What to call it; BUNDLE#NAME selects it."),
    base: str = typer.Option("", help="Base name or folder; default: the run's own."),
) -> None:
    """Add an adapter of the same base to a bundle; the program stays as it is."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_export.separate_adapter import add_adapter
    from hydra_mobile.models.registry import base_folder
    from hydra_mobile.runtimes.model_ref import adapter_in, base_of

    folder = base_folder(base, say) if base else base_of(run)
    add_adapter(bundle, folder, adapter_in(run), name, say)
    say(f"Check it with: hydra-mobile verify {bundle}#{name}")
