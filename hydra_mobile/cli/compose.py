"""`hydra-mobile compose`: a language model, a vision tower and a fresh projector to a base."""

from __future__ import annotations

from pathlib import Path

import typer


def compose(
    language: str = typer.Option(
        ..., help="Folder or hub id of a Llama, for example mtgv/MobileLLaMA-1.4B-Chat."
    ),
    vision: str = typer.Option(
        "openai/clip-vit-large-patch14-336",
        help="Folder or hub id of a CLIP or SigLIP; of a whole one the vision part is taken.",
    ),
    projector: str = typer.Option(
        ..., help="ldpnet, ldpnetv2, linear, mlp2x_gelu (any number for 2), or pooled_mlp."
    ),
    out: Path = typer.Option(..., help="Base folder to make; train with base=FOLDER."),
    select_layer: int = typer.Option(
        -2, help="Hidden states of the tower that are read; -2: the input of its last layer."
    ),
    template: str = typer.Option("v1", help="Template of conversations: v1, chatml or plain."),
    name: str = typer.Option("", help="Name of the base; default: made of the parts' names."),
) -> None:
    """Make a base whose projector is still random: stage I of a training run aligns it."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_mobile.models.checkpoints.composing import compose as make

    make(
        language,
        vision,
        projector,
        out,
        select_layer=select_layer,
        template=template,
        name=name,
        log=say,
    )
    say(f"Train it, stage I included, with: hydra-mobile train base={out} ...")
