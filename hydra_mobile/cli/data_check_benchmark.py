"""`hydra-mobile data check-benchmark`: a benchmark's folder, before an hour is spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.registry import nearest

if TYPE_CHECKING:
    from hydra_mobile.benchmarks.checks.check import Depth


def check_benchmark(
    benchmark: str = typer.Argument(
        ...,
        help=f"{', '.join(BENCHMARKS)}; several with commas; all: those of official releases.",
    ),
    data: Path = typer.Option(
        ..., help="The folder that holds the official folders, or the benchmark's own."
    ),
    protocol: str = typer.Option("", help="The way of asking; empty: llava-1.5."),
    splits: str = typer.Option("", help="Comma-separated splits; empty: those that are evaluated."),
    pictures: str = typer.Option(
        "some", help="some (look for all, open a few), all (open each), or none."
    ),
    json: Path | None = typer.Option(None, help="Write the result to this file too."),
) -> None:
    """Say which files of a benchmark are there, how much is in them, and what is missing."""
    from hydra_mobile.cli.console import prepare, progress, say

    prepare()
    from hydra_mobile.benchmarks.base import Benchmark
    from hydra_mobile.benchmarks.checks.check import check_benchmark as check
    from hydra_mobile.benchmarks.checks.report import check_lines
    from hydra_mobile.core.files import write_json
    from hydra_mobile.core.progress import counted

    names = benchmark.split(",")
    if benchmark == "all":
        names = [name for name in BENCHMARKS if Benchmark.named(name).official]
    depth = _depth(pictures)
    results = []
    for name in names:
        with counted(progress, "pictures") as count:
            result = check(
                name,
                data,
                protocol=protocol,
                splits=tuple(split for split in splits.split(",") if split),
                pictures=depth,
                # Looking for files takes no time that is worth a bar; opening thousands does.
                **({"progress": count} if depth == "all" else {}),
            )
        results.append(result)
        for line in check_lines(result):
            say(line)
    if json:
        write_json(json, [result.to_dict() for result in results])
    raise typer.Exit(0 if all(result.can_ask for result in results) else 1)


def _depth(name: str) -> Depth:
    depths: tuple[Depth, ...] = ("some", "all", "none")
    for depth in depths:
        if depth == name:
            return depth
    raise ConfigError(f"--pictures is `{name}`.", nearest(name, depths))
