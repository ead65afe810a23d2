"""`hydra-mobile verify`: replays a bundle's golden vectors."""

from __future__ import annotations

from pathlib import Path

import typer


def verify(bundle: Path = typer.Argument(..., help="Bundle folder.")) -> None:
    """Check that an exported bundle computes what the merged model computed."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_export.verify import verify as verify_bundle

    result = verify_bundle(bundle)
    say(result.table())
    result.require()
