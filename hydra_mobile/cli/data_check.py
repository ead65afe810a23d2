"""`hydra-mobile data check`: everything in training data that training would stumble over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.data_options import (
    Columns,
    columns_of,
    existing_data,
    require_base,
    training_command,
)
from hydra_mobile.cli.options import Base, Images, Workers
from hydra_mobile.cli.ui.faults import interruption
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.core.errors import CheckFailed

if TYPE_CHECKING:
    from hydra_mobile.api.data import CheckResult


def check(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Data in any form: see docs/data.md"),
    ],
    images: Images = None,
    base: Base = "",
    template: Annotated[
        str, typer.Option(metavar="NAME", help="Prompt template in place of the base's own")
    ] = "",
    max_length: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=10_000_000,
            help="Longest conversation in tokens, image included",
        ),
    ] = 2048,
    pictures: Annotated[
        Literal["decode", "header", "exists", "none"],
        typer.Option(help="How closely to look at images"),
    ] = "decode",
    workers: Workers = 0,
    columns: Columns = None,
    examples: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=1_000_000, help="Examples of each kind of problem"),
    ] = 3,
) -> ui.Result:
    """Check a data file for all that training would stop at.

    With --base, tokens are counted with its tokenizer and template.
    """
    existing_data(file)
    require_base(template, base)
    ui.title(f"Checking {file}")
    ui.prepare()
    from hydra_mobile.api.data import check_data, report_lines

    result = check_data(
        file,
        images=images,
        base=base,
        template=template,
        max_length=max_length,
        pictures=pictures,
        workers=workers,
        examples=examples,
        columns=columns_of(columns),
        log=ui.say,
        progress=progress,
    )
    for text in report_lines(result):
        ui.line(text)
    if result.stopped == "interrupted":
        ui.going_on("What was read so far is above.")
        raise interruption()
    return ui.Result(
        result.to_dict(),
        next=[training_command(file, images, columns)],
        failed=_failed(result),
    )


def _failed(result: CheckResult) -> CheckFailed | None:
    if not result.records and not result.problems:
        return CheckFailed("there are no records", "Training needs one.", where=str(result.file))
    if not result.problems:
        return None
    problems = f"{result.problems:,} problem" + "s" * (result.problems > 1)
    records = f"{result.records:,} record" + "s" * (result.records > 1)
    return CheckFailed(
        f"{problems} in {records}: training stops at them",
        [
            "mend them at the places above, or leave them out of the training:",
            "data.bad_records=drop data.over_length=drop",
        ],
        where=str(result.file),
    )
