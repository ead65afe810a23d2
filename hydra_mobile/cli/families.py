"""`hydra-mobile families`: which kinds of models can be a base, and whether a checkpoint is one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import existing
from hydra_mobile.core.errors import CheckFailed

app = ui.new_app("List families of models; check a checkpoint.", default="list")


def list_() -> ui.Result:
    """List the families that a base may be of."""
    ui.prepare()
    from hydra_mobile.api.families import list_families

    found = list_families()
    rows = [(one.name, one.title, ", ".join(one.model_types), one.tested) for one in found]
    columns = [
        ui.Column("family"),
        ui.Column("models", prose=True),
        ui.Column("model_type", drop=2),
        ui.Column("tested on", drop=1),
    ]
    ui.table(columns, rows)
    data = [{**asdict(one), "model_types": list(one.model_types)} for one in found]
    return ui.Result({"families": data}, next=["hydra-mobile families check FOLDER"])


def check(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Checkpoint of transformers; weights are not needed"),
    ],
) -> ui.Result:
    """Compare a checkpoint with transformers' own answers.

    Template, pictures, image embeddings and logits; random weights do as well.
    """
    existing(folder, "FOLDER")
    ui.title(f"Checking {folder}")
    ui.prepare()
    from hydra_mobile.api.families import check_family

    found = check_family(folder, ui.say)
    weights = "random weights: the folder has none" if found.random_weights else "its own weights"
    ui.facts({"family": found.family, "class": found.model_class, "with": weights})
    ui.table(
        [ui.Column("compared"), ui.Column("result"), ui.Column("found", prose=True)],
        [(one.name, one.status, one.found) for one in found.checks],
    )
    wrong = [one for one in found.checks if one.status == "differs"]
    failed = None
    if wrong:
        failed = CheckFailed(
            f"{len(wrong)} of {len(found.checks)} comparisons differ: {wrong[0].name}",
            wrong[0].found,
            where=str(folder),
        )
    return ui.Result(
        {
            "folder": folder,
            "family": found.family,
            "class": found.model_class,
            "random_weights": found.random_weights,
            "checks": [
                {"name": one.name, "status": one.status, "found": one.found} for one in found.checks
            ],
        },
        next=[] if wrong else [f"hydra-mobile train --config emojiqa-smol base={folder} --dry-run"],
        failed=failed,
    )


ui.add(app, list_, "list", schema="families-list")
ui.add(
    app,
    check,
    schema="families-check",
    examples=["hydra-mobile families check path/to/SmolVLM-256M-Instruct"],
)
