"""`hydra-mobile bundle ...`: shows what a bundle holds, adds an adapter to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Base, Run, existing
from hydra_mobile.cli.ui.formats import megabytes

app = ui.new_app("Show what a bundle holds; add an adapter to it.")

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder")]


def show(bundle: Bundle) -> ui.Result:
    """Show what a bundle holds, and whether its files are whole."""
    existing(bundle, "BUNDLE")
    ui.prepare()
    from hydra_mobile import Bundle as Opened

    opened = Opened.open(bundle)
    manifest = opened.manifest
    files = manifest.get("files", {})
    ui.line(f"{bundle}: {opened.runtime} {opened.preset.name} for {opened.target}")
    ui.line(
        f"  made       {manifest.get('created', '')} by hydra-mobile "
        f"{manifest.get('versions', {}).get('hydra-mobile', '')}".rstrip()
    )
    ui.line(
        f"  limits     {opened.limits.max_context} tokens of context, "
        f"{opened.limits.max_prefill} in one call"
    )
    if adapters := manifest.get("adapters"):
        ui.line(f"  adapters   {', '.join(sorted(adapters))}")
    rows = [
        (name, megabytes((bundle / name).stat().st_size))
        for name in sorted(files)
        if (bundle / name).is_file()
    ]
    ui.table([ui.Column("file"), ui.Column("size", right=True)], rows)
    ui.verdict(
        True,
        f"{len(rows)} files, all hashes match; {megabytes(opened.size_bytes)} of "
        "program and weights.",
    )
    return ui.Result(
        {
            "path": bundle,
            "target": opened.target,
            "runtime": opened.runtime,
            "preset": opened.preset.name,
            "size_bytes": opened.size_bytes,
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
    existing(run, "RUN")
    ui.prepare()
    from hydra_mobile.api.export import add_adapter

    called = add_adapter(bundle, run, name, base=base, log=ui.say).adapter
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
