"""`hydra-mobile bundle ...`: shows what a bundle holds, adds an adapter to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Base, Run, existing, opened
from hydra_mobile.cli.ui.formats import megabytes

app = ui.new_app("Show what a bundle holds; add an adapter to it.")

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder")]


def show(bundle: Bundle) -> ui.Result:
    """Show what a bundle holds, and whether its files are whole."""
    folder = Path(opened(bundle, "BUNDLE", names=False))
    ui.prepare()
    from hydra_mobile import Bundle as Opened

    whole = Opened.open(folder)
    manifest = whole.manifest
    files = manifest.get("files", {})
    ui.line(f"{bundle}: {whole.runtime} {whole.preset.name} for {whole.target}")
    ui.line(
        f"  made       {manifest.get('created', '')} by hydra-mobile "
        f"{manifest.get('versions', {}).get('hydra-mobile', '')}".rstrip()
    )
    ui.line(
        f"  limits     {whole.limits.max_context} tokens of context, "
        f"{whole.limits.max_prefill} in one call"
    )
    if adapters := manifest.get("adapters"):
        ui.line(f"  adapters   {', '.join(sorted(adapters))}")
    rows = [
        (name, megabytes((whole.folder / name).stat().st_size))
        for name in sorted(files)
        if (whole.folder / name).is_file()
    ]
    ui.table([ui.Column("file"), ui.Column("size", right=True)], rows)
    ui.verdict(
        True,
        f"{len(rows)} files, all hashes match; {megabytes(whole.size_bytes)} of "
        "program and weights.",
    )
    return ui.Result(
        {
            "path": bundle,
            "target": whole.target,
            "runtime": whole.runtime,
            "preset": whole.preset.name,
            "size_bytes": whole.size_bytes,
            "manifest": manifest,
        },
        next=[f"hydra-mobile verify {bundle}", f"hydra-mobile estimate {bundle}"],
    )


def add(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="Bundle made with `export --adapter separate`"),
    ],
    run: Run,
    name: Annotated[
        str,
        typer.Option(metavar="NAME", show_default="the run's", help="BUNDLE#NAME selects it"),
    ] = "",
    base: Base = "",
) -> ui.Result:
    """Add an adapter of the same base to a bundle.

    The program stays as it is.
    """
    existing(bundle, "BUNDLE")
    source = opened(run, "RUN", names=False)
    ui.prepare()
    from hydra_mobile.api.export import add_adapter

    called = add_adapter(bundle, source, name, base=base, log=ui.say).adapter
    ui.line(f"Adapter: {bundle}#{called}")
    return ui.Result(
        {"path": bundle, "name": called, "model": f"{bundle}#{called}"},
        brief=f"{bundle}#{called}",
        next=[f"hydra-mobile verify {bundle}#{called} --against {run}"],
    )


def export_adapter(
    run: Run,
    bundle: Annotated[Path, typer.Option(metavar="BUNDLE", help="Bundle folder")],
    name: Annotated[str, typer.Option(metavar="NAME", help="BUNDLE#NAME selects it")],
    base: Base = "",
) -> ui.Result:
    """Add an adapter of the same base to a bundle."""
    return add(bundle, run, name, base)


ui.add(app, show, schema="bundle-show", examples=["hydra-mobile bundle show BUNDLE"])
ui.add(
    app,
    add,
    schema="bundle-add",
    brief=True,
    examples=["hydra-mobile bundle add BUNDLE runs/second --name second"],
    more="docs/export.md",
)
