"""`hydra-mobile convert`: a base or trained model in another project's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Model, opened
from hydra_mobile.cli.places import FolderPlace
from hydra_mobile.core.errors import ConfigError


def convert(
    model: Model,
    layout: Annotated[
        Literal["mobilevlm", "llava", "llama.cpp"],
        typer.Option(
            help="Whose: mobilevlm (MobileVLM's code), llava (transformers, mlp projectors) or "
            "llama.cpp (what its converters to GGUF read)"
        ),
    ] = "mobilevlm",
    format: Annotated[
        Literal["safetensors", "bin"],
        typer.Option(help="safetensors, or bin (pytorch_model.bin, layout mobilevlm only)"),
    ] = "safetensors",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=FolderPlace("converted checkpoint"),
            show_default="MODEL-LAYOUT",
            help="Folder",
        ),
    ] = None,
) -> ui.Result:
    """Write a model in the layout of another project.

    The way back of `import`: tensors that training did not touch are the same bit for bit. A run is
    merged first.
    """
    if format == "bin" and layout != "mobilevlm":
        raise ConfigError(
            "--format bin belongs to layout mobilevlm",
            "leave --format out",
            where="--format",
            found=f"bin, with --layout {layout}",
            expected="the layout's own format",
        )
    ui.prepare()
    from hydra_mobile.api.bases import convert as write

    ui.title(f"Converting {model} to the layout of {layout}")
    made, commands = write(
        opened(model, "MODEL"), layout, out=out, pickled=format == "bin", log=ui.say
    )
    ui.line(f"Written: {made}")
    if commands:
        ui.line("Now run in llama.cpp's folder, with the packages that its requirements name:")
        for command in commands:
            ui.line(f"  {command}")
    return ui.Result({"path": made, "layout": layout, "commands": commands}, brief=str(made))


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        convert,
        panel=panel,
        brief=True,
        examples=["hydra-mobile convert runs/emojiqa --layout llama.cpp"],
        more="docs/original_checkpoints.md",
    )
