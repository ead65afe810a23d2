"""`hydra-mobile data convert`: training data of any form as LLaVA's json or jsonl."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.data_options import Columns, DataFile, columns_of, existing_data
from hydra_mobile.cli.options import Images
from hydra_mobile.cli.places import FilePlace
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.own_files import DATA, require_replaceable_file


def convert(
    file: DataFile,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            parser=FilePlace(DATA),
            help="Result: a name in .json or .jsonl",
        ),
    ] = Path("converted.json"),
    images: Images = None,
    columns: Columns = None,
    drop_bad: Annotated[
        bool, typer.Option("--drop-bad", help="Leave out records that cannot be used")
    ] = False,
) -> ui.Result:
    """Write training data of any form as LLaVA json.

    Images inside the data are written to a folder beside the result; others stay where they are.
    """
    existing_data(file)
    if out.suffix not in (".json", ".jsonl"):
        raise ConfigError(
            f"--out is {out}",
            f"--out {out.with_suffix('.json')}",
            where="--out",
            found=out.suffix or "no ending",
            expected=".json or .jsonl",
        )
    require_replaceable_file(out, DATA)
    ui.title(f"Converting {file}")
    ui.prepare()
    from hydra_mobile.api.data import convert_data

    made = convert_data(
        file,
        out,
        images=images,
        columns=columns_of(columns),
        drop_bad=drop_bad,
        progress=progress,
    )
    left = f", {made.left_out:,} left out" if made.left_out else ""
    ui.line(f"{made.out}: {made.records:,} records of {made.form}{left}")
    if made.pictures:
        ui.line(f"  images     {made.pictures}")
    return ui.Result(
        asdict(made),
        next=[f"hydra-mobile data check {made.out}"],
        brief=str(made.out),
    )
