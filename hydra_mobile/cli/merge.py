"""`hydra-mobile merge`: folds a run's adapter into its base."""

from __future__ import annotations

from pathlib import Path

import typer


def merge(
    run: Path = typer.Argument(..., help="Run folder, or adapter folder."),
    out: Path = typer.Option(None, help="Merged folder; default: merged/ inside the run."),
    base: str = typer.Option("", help="Base name or folder; default: the run's own."),
) -> None:
    """Write one Hugging Face folder that holds every trained tensor."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_export.merge import merge as merge_adapter
    from hydra_mobile.models.registry import base_folder
    from hydra_mobile.runtimes.model_ref import base_of

    folder = base_folder(base, say) if base else base_of(run)
    out = out or run / "merged"
    report = merge_adapter(folder, run, out, log=say)
    say(
        f"{report.out}: {len(report.merged)} weights merged, {len(report.replaced)} replaced, "
        f"{report.untouched} untouched and equal bit for bit"
    )
