"""`hydra-mobile fetch`: makes the folder of a named base, or lists the bases."""

from __future__ import annotations

from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import complete_bases
from hydra_mobile.cli.ui.faults import unknown
from hydra_mobile.cli.ui.formats import megabytes


def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Base, for example smol; without a name they are listed",
            autocompletion=complete_bases,
        ),
    ] = "",
) -> ui.Result:
    """Download a base model once, or list the known ones."""
    from hydra_mobile.core.folders import recover
    from hydra_mobile.models.registry import BASES, cached_base

    if name and name not in BASES:
        raise unknown("base", name, list(BASES), "NAME", "hydra-mobile fetch")
    if not name:
        return _list()
    folder = cached_base(name)
    # What a killed fetch left beside it goes.
    present = recover(folder) and (folder / "config.json").is_file()
    if not present:
        ui.prepare()
        from hydra_mobile.api.bases import fetch as fetch_base

        ui.title(f"Fetching {name}")
        ui.facts({"to": str(folder)})
        ui.going_on("Files that were downloaded whole stay.")
        folder = fetch_base(name, log=ui.say)
    ui.line(f"{name} {'is already at' if present else 'is at'} {folder}")
    return ui.Result(
        {"name": name, "path": folder, "was_present": present, "size_bytes": _size(folder)},
        brief=str(folder),
        next=[f"hydra-mobile train --config emojiqa-smol base={name} --dry-run"],
    )


def _list() -> ui.Result:
    from hydra_mobile.models.registry import BASES, cached_base

    rows, data = [], []
    for name in BASES:
        folder = cached_base(name)
        here = (folder / "config.json").is_file()
        size = _size(folder) if here else None
        rows.append((name, megabytes(size) if size else "", str(folder) if here else "not fetched"))
        data.append({"name": name, "fetched": here, "path": folder, "size_bytes": size})
    ui.table([ui.Column("base"), ui.Column("size", right=True), ui.Column("place")], rows)
    return ui.Result({"bases": data}, next=["hydra-mobile fetch smol"])


def _size(folder: object) -> int:
    from pathlib import Path

    return sum(file.stat().st_size for file in Path(str(folder)).rglob("*") if file.is_file())


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(app, fetch, panel=panel, brief=True, examples=["hydra-mobile fetch smol"])
