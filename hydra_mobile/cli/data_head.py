"""`hydra-mobile data head`: the first records as the model sees them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.data_options import (
    Columns,
    DataFile,
    columns_of,
    existing_data,
    require_base,
    training_command,
)
from hydra_mobile.cli.options import Base, Images


def head(
    file: DataFile,
    base: Base = "",
    template: Annotated[
        str, typer.Option(metavar="NAME", help="Prompt template in place of the base's own")
    ] = "",
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000, help="This many records")
    ] = 3,
    images: Images = None,
    columns: Columns = None,
) -> ui.Result:
    """Show the first records as the model sees them.

    With --base, in its template and with its tokens; learned text is in [brackets].
    """
    existing_data(file)
    require_base(template, base)
    ui.prepare()
    from hydra_mobile.api.data import head as read

    found = read(
        file,
        limit,
        base=base,
        template=template,
        images=images,
        columns=columns_of(columns),
        log=ui.say,
    )
    ui.line(f"{file}: {found.form}")
    if base:
        ui.line(f"  base       {base}{f', template {template}' if template else ''}")
    for record in found.records:
        ui.blank()
        # The file is the same for all.
        place = record.where.rsplit(", ", 1)[-1]
        if record.fault:
            ui.line(f"{place}   refused")
            ui.line(f"  {record.fault}")
        else:
            named = [str(image) for image in record.images] or ["no image"]
            ui.line(f"{place}   {', '.join(named)}")
        for line in record.marked().splitlines():
            ui.line(f"  {line}")
        if record.tokens:
            ui.line(f"  {record.tokens:,} tokens, {record.learned:,} learned")
    ui.blank()
    ui.line("Learned text is in [brackets].")
    at = f" --base {base}" if base else ""
    return ui.Result(
        {"form": found.form, "records": [asdict(record) for record in found.records]},
        next=[
            f"hydra-mobile data check {file}{at}",
            training_command(file, images, columns),
        ],
    )
