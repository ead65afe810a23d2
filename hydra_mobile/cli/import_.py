"""`hydra-mobile import`: another project's checkpoint to a base folder."""

from __future__ import annotations

from pathlib import Path

import typer


def import_checkpoint(
    source: str = typer.Argument(
        ...,
        help="Folder or hub id (owner/name) of a MobileVLM or LLaVA checkpoint, or of a "
        "transformers LlavaForConditionalGeneration.",
    ),
    out: Path = typer.Option(..., help="Base folder to make; train with base=FOLDER."),
    vision: str = typer.Option(
        "",
        help="Folder or hub id of a CLIP or SigLIP that replaces the checkpoint's own vision "
        "tower; default: the tower inside the checkpoint, else the one its config.json names.",
    ),
    name: str = typer.Option("", help="Name of the base; default: the hub id or folder name."),
) -> None:
    """Import a checkpoint: every tensor is mapped, or the import stops and names it.

    Weights may be safetensors or pytorch_model.bin, sharded or not; they are streamed, so memory
    stays small, and keep their dtype.
    """
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_mobile.models.checkpoints.importing import import_checkpoint as make

    make(source, out, vision=vision, name=name, log=say)
    say(f"Train it with: hydra-mobile train base={out} ...")
