"""`hydra-mobile fetch`: makes the folder of a named base."""

from __future__ import annotations

import typer


def fetch(
    name: str = typer.Argument(
        "", help="Base to fetch, for example smol or mobilevlm-1.7b; empty: list them."
    ),
) -> None:
    """Download and convert a base model once; instant afterwards."""
    from hydra_mobile.cli.console import console, prepare

    prepare()
    from hydra_mobile.models.registry import BASES, cached_base
    from hydra_mobile.models.registry import fetch as fetch_base

    if not name:
        for known in BASES:
            place = cached_base(known)
            at = f"at {place}" if (place / "config.json").is_file() else "not fetched"
            console.print(f"{known:24} {at}", soft_wrap=True)
        return
    present = (cached_base(name) / "config.json").is_file()
    folder = fetch_base(name, console.print)
    console.print(f"{name} {'is already at' if present else 'is at'} {folder}", soft_wrap=True)
