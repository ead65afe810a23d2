"""`hydra-mobile import`: another project's checkpoint to a base folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import BaseFolder, Force
from hydra_mobile.cli.places import require_place


def import_checkpoint(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Folder or hub id of a MobileVLM or LLaVA checkpoint, or of a "
            "LlavaForConditionalGeneration",
        ),
    ],
    out: BaseFolder = None,
    force: Force = False,
    vision: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="CLIP or SigLIP in place of the checkpoint's own vision tower",
        ),
    ] = "",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the base; default: that of SOURCE")
    ] = "",
) -> ui.Result:
    """Import a checkpoint of another project.

    Every tensor is mapped, or the import stops and names it. Weights are streamed, so memory stays
    small, and keep their dtype.
    """
    made = out or Path("bases") / (name or Path(source).name)
    require_place(made, "base", force)
    ui.prepare()
    from hydra_mobile.api.bases import import_model

    ui.title(f"Importing {source}")
    ui.facts({"out": str(made)})
    import_model(source, made, vision=vision, name=name, log=ui.say)
    ui.line(f"Base: {made}")
    return ui.Result(
        {"source": source, "path": made},
        brief=str(made),
        next=[f"hydra-mobile train --config mobilevlm-1.7b base={made} --dry-run"],
    )


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        import_checkpoint,
        "import",
        panel=panel,
        brief=True,
        examples=["hydra-mobile import mtgv/MobileVLM-1.7B"],
        more="docs/original_checkpoints.md",
    )
