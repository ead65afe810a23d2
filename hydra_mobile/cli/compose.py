"""`hydra-mobile compose`: a language model, a vision tower and a fresh projector to a base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import BaseFolder, Force
from hydra_mobile.cli.places import require_place


def compose(
    language: Annotated[str, typer.Option(metavar="SOURCE", help="Folder or hub id of a Llama")],
    projector: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="ldpnet, ldpnetv2, linear, mlp2x_gelu (any number for 2) or pooled_mlp",
        ),
    ],
    vision: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="Folder or hub id of a CLIP or SigLIP; of a whole one the vision part",
        ),
    ] = "openai/clip-vit-large-patch14-336",
    out: BaseFolder = None,
    force: Force = False,
    select_layer: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=-1000,
            max=1000,
            help="Hidden states of the tower; -2: the input of its last layer",
        ),
    ] = -2,
    template: Annotated[
        Literal["v1", "chatml", "plain"], typer.Option(help="Template of conversations")
    ] = "v1",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the base; default: of its parts")
    ] = "",
) -> ui.Result:
    """Build a base from a language model and a vision tower.

    Its projector is still random: stage I of a training run aligns it.
    """
    made = out or Path("bases") / (name or f"{Path(language).name}-{projector}")
    require_place(made, "base", force)
    ui.prepare()
    from hydra_mobile.api.bases import compose as make

    ui.title(f"Composing {made}")
    ui.facts({"language": language, "vision": vision, "projector": projector})
    make(
        language,
        projector,
        vision=vision,
        out=made,
        select_layer=select_layer,
        template=template,
        name=name,
        log=ui.say,
    )
    ui.line(f"Base: {made}")
    return ui.Result(
        {"path": made, "language": language, "vision": vision, "projector": projector},
        brief=str(made),
        next=[f"hydra-mobile train --config mobilevlm-1.7b base={made} --dry-run"],
    )


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        compose,
        panel=panel,
        brief=True,
        examples=["hydra-mobile compose --language mtgv/MobileLLaMA-1.4B-Chat --projector ldpnet"],
        more="docs/original_checkpoints.md",
    )
