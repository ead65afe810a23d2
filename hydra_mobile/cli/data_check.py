"""`hydra-mobile data check`: everything in a LLaVA data file that training would stumble over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.registry import nearest

if TYPE_CHECKING:
    from hydra_mobile.data.check_pictures import Depth
    from hydra_mobile.models.processor import MobileVLMProcessor


def check(
    file: Path = typer.Argument(..., help="LLaVA json, or jsonl with one record a line."),
    images: Path | None = typer.Option(
        None, help="Folder that `image` is relative to; without it, the file's own."
    ),
    base: str = typer.Option(
        "", help="Named base or folder whose tokenizer and template count tokens."
    ),
    template: str = typer.Option("", help="Prompt template; empty: the base's own."),
    max_length: int = typer.Option(2048, help="Longest conversation in tokens, picture included."),
    pictures: str = typer.Option("full", help="full (decode), header, exists or none."),
    workers: int = typer.Option(0, help="Threads that look at pictures; 0: one per core."),
    json: Path | None = typer.Option(None, help="Write the result to this file too."),
    show: int = typer.Option(3, help="Examples of each kind of problem."),
) -> None:
    """Read a whole data file and report everything that training would stumble over."""
    from hydra_mobile.cli.console import prepare, progress, say

    prepare()
    from hydra_mobile.core.files import write_json
    from hydra_mobile.core.memory import peak_resident_bytes
    from hydra_mobile.data.check import CheckOptions, check_data
    from hydra_mobile.data.check_report import report_lines
    from hydra_mobile.data.json_stream import JsonRecords

    options = CheckOptions(
        images, _depth(pictures), workers, _processor(base, template), max_length, show
    )
    total = _megabytes(JsonRecords(file).bytes_total)
    with progress.stage(f"{file.name}, MB", total, 0, "records") as bar:
        seen = 0

        def seen_so_far(records: int, done: int, of: int) -> None:
            nonlocal seen
            step = min(total, _megabytes(done))
            bar.advance(step, records - seen, f"{records:,} records", peak_resident_bytes())
            seen = records

        result = check_data(file, options, seen_so_far)
    for line in report_lines(result):
        say(line)
    if json:
        write_json(json, result.to_dict())
    if result.stopped == "interrupted":
        raise typer.Exit(130)
    raise typer.Exit(1 if result.problems else 0)


def _megabytes(size: int) -> int:
    return max(1, round(size / 1e6))


def _depth(name: str) -> Depth:
    depths: tuple[Depth, ...] = ("full", "header", "exists", "none")
    for depth in depths:
        if depth == name:
            return depth
    raise ConfigError(f"--pictures is `{name}`.", nearest(name, depths))


def _processor(base: str, template: str) -> MobileVLMProcessor | None:
    """Return the processor that counts tokens, if any is asked for."""
    if not base:
        if template:
            raise ConfigError("--template needs a tokenizer.", "Give --base too.")
        return None
    from hydra_mobile.cli.console import say
    from hydra_mobile.models.processor import MobileVLMProcessor
    from hydra_mobile.models.registry import base_folder
    from hydra_mobile.models.templates import template_named

    processor = MobileVLMProcessor.from_pretrained(base_folder(base, say))
    if template:
        processor.template = template_named(template)
    return processor
