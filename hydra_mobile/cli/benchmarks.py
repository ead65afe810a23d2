"""`hydra-mobile benchmarks ...`: lists benchmarks, checks their data, writes them as tables."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.benchmark_data import data_folder
from hydra_mobile.cli.options import (
    Data,
    Limit,
    Protocol,
    Splits,
    benchmark_names,
    complete_benchmarks,
    names,
)
from hydra_mobile.cli.places import FilePlace
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.core.errors import CheckFailed, HydraError
from hydra_mobile.core.own_files import TABLE, require_replaceable_file

app = ui.new_app("List benchmarks; check their data.", default="list")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Benchmark", autocompletion=complete_benchmarks)
]


def list_() -> ui.Result:
    """List the benchmarks."""
    from hydra_mobile.api.benchmarks import benchmarks

    kinds = benchmarks()
    rows = [(name, kind.title, kind.about, kind.primary) for name, kind in kinds.items()]
    columns = [ui.Column("name"), ui.Column("title"), ui.Column("asks for", prose=True)]
    ui.table([*columns, ui.Column("score", drop=1)], rows)
    data = [
        {
            "name": name,
            "title": kind.title,
            "about": kind.about,
            "primary": kind.primary,
            "source": kind.source,
            "licenses": dict(kind.licenses),
            "official": kind.official,
        }
        for name, kind in kinds.items()
    ]
    return ui.Result({"benchmarks": data}, next=["hydra-mobile benchmarks check all --data DIR"])


def check(
    benchmarks: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Benchmarks, also with commas; all: those of official releases that are there",
            autocompletion=complete_benchmarks,
        ),
    ],
    data: Data = None,
    protocol: Protocol = "",
    splits: Splits = "",
    pictures: Annotated[
        Literal["sample", "decode", "none"],
        typer.Option(help="sample (look for all, open a few), decode (open each) or none"),
    ] = "sample",
) -> ui.Result:
    """Check the data of benchmarks before an hour is spent.

    Says which files are there, how much is in them, and what is missing.
    """
    chosen = benchmark_names(benchmarks)
    folder = data_folder(data, chosen)
    ui.prepare()
    from hydra_mobile.api import benchmarks as api

    if whole := [*benchmarks] == ["all"]:
        kinds = api.benchmarks()
        chosen = tuple(name for name in chosen if kinds[name].official)
    results, absent = [], []
    for name in chosen:
        result = api.check_benchmark(
            name,
            folder,
            protocol=protocol,
            splits=names(splits),
            pictures=pictures,
            progress=progress,
        )
        if whole and not any(file.found for file in result.files):
            absent.append(name)
            continue
        results.append(result)
        for text in api.check_lines(result):
            ui.line(text)
    if absent:
        ui.note(f"Not in {folder}: {', '.join(absent)}")
    if not results:
        raise HydraError(
            "there is no benchmark's data",
            "docs/benchmarks.md says where the files come from",
            where=str(folder),
            found="no file of any benchmark",
            kind="data",
        )
    checked = ",".join(each.benchmark for each in results)
    unusable = [each.benchmark for each in results if not each.can_ask]
    failed = (
        CheckFailed(
            f"{len(unusable)} of {len(results)} benchmarks cannot be asked",
            "complete their folders; docs/benchmarks.md says where the files come from",
            where=str(folder),
            found=", ".join(unusable),
        )
        if unusable
        else None
    )
    return ui.Result(
        {"checks": [each.to_dict() for each in results]},
        failed=failed,
        next=[f"hydra-mobile evaluate MODEL --benchmarks {checked} --data {folder}"],
    )


def table(
    benchmark: Name,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=FilePlace(TABLE), show_default="NAME.tsv", help="Table"
        ),
    ] = None,
    splits: Splits = "",
    limit: Limit = 0,
    protocol: Protocol = "",
    share_pictures: Annotated[
        bool,
        typer.Option(
            "--share-pictures", help="Write each image once; other rows name the row that has it"
        ),
    ] = False,
    only_pictures: Annotated[
        bool, typer.Option("--only-pictures", help="Leave out questions without an image")
    ] = False,
) -> ui.Result:
    """Write a benchmark as one table with its images inside.

    It is the base64 table that VLMEvalKit and MMBench's tools read.
    """
    (name,) = benchmark_names([benchmark])
    made = out or Path(f"{name}.tsv")
    require_replaceable_file(made, TABLE)
    folder = data_folder(data, (name,))
    ui.prepare()
    from hydra_mobile.api.benchmarks import write_table

    written = write_table(
        name,
        folder,
        made,
        protocol=protocol,
        splits=names(splits),
        limit=limit or None,
        share_pictures=share_pictures,
        only_pictures=only_pictures,
        progress=progress,
    )
    bare = written.without_picture
    without = f", {bare} of them without an image" if bare else ""
    ui.line(f"{made} holds {written.questions} questions of {name}{without}.")
    return ui.Result(asdict(written), brief=str(made))


#: Values of --pictures in version 0.1.
OLD_PICTURES = {"--pictures": {"some": "sample", "all": "decode"}}

ui.add(app, list_, "list", schema="benchmarks-list")
ui.add(
    app,
    check,
    schema="benchmarks-check",
    renamed_values=OLD_PICTURES,
    examples=["hydra-mobile benchmarks check pope mme --data benchmark_data"],
    more="docs/benchmarks.md",
)
ui.add(
    app,
    table,
    schema="benchmarks-table",
    brief=True,
    examples=["hydra-mobile benchmarks table gqa --data benchmark_data"],
)
