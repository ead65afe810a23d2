"""`hydra-mobile merge`: folds a run's adapter into its base."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from hydra_mobile.api.paths import default_merged_folder
from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Base, Force, Model, Private, Push, opened
from hydra_mobile.cli.places import FolderPlace, require_place, run_of
from hydra_mobile.cli.push import preparing_push
from hydra_mobile.cli.ui.formats import megabytes


def merge(
    model: Model,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=FolderPlace("merged model"),
            show_default="RUN/merged",
            help="Merged folder",
        ),
    ] = None,
    force: Force = False,
    base: Base = "",
    push: Push = "",
    private: Private = False,
) -> ui.Result:
    """Fold an adapter into its base model.

    Writes one Hugging Face folder that holds every trained tensor.
    """
    run = Path(opened(model, "MODEL", names=False))
    made = out or default_merged_folder(run)
    require_place(made, "merged model", force)
    ui.log_beside(run_of(run) or made.with_name(f"{made.name}.logs"), "merge")
    ui.prepare()
    put = preparing_push(push, private)
    from hydra_mobile.api.merge import merged_model

    ui.title(f"Merging {model} into its base")
    began = time.monotonic()
    merged = merged_model(run, out, base=base, again=force)
    data: dict[str, Any] = {
        "path": merged.path,
        "base": merged.base,
        "up_to_date": merged.up_to_date,
    }
    if merged.up_to_date:
        ui.line(f"{merged.path} is up to date: same adapter, same base. (--force redoes it)")
    else:
        ui.facts({"base": str(merged.base), "out": str(merged.path)})
        ui.step("merged", f"{merged.merged_weights} linear weights", time.monotonic() - began)
        ui.step("replaced", f"{merged.replaced_weights} weights trained beside the adapter")
        ui.step(
            "unchanged", f"{merged.unchanged_weights} other weights, equal to the base bit for bit"
        )
        size = megabytes(merged.size_bytes)
        ui.line(f"Merged model: {merged.path}   ({size}, loads with from_pretrained)")
        data |= {
            "size_bytes": merged.size_bytes,
            "merged_weights": merged.merged_weights,
            "replaced_weights": merged.replaced_weights,
            "unchanged_weights": merged.unchanged_weights,
        }
    return ui.Result(
        data | put(merged.path),
        brief=str(merged.path),
        next=[
            f"hydra-mobile export {merged.path}",
            f"hydra-mobile chat {merged.path} --image IMAGE",
        ],
    )


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(app, merge, panel=panel, brief=True, examples=["hydra-mobile merge runs/emojiqa"])
