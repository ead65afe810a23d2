"""`hydra-mobile data check`: everything in a LLaVA data file that training would stumble over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Base, Images, Workers, existing
from hydra_mobile.cli.ui.live import progress as live
from hydra_mobile.core.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from hydra_mobile.data.check import CheckResult
    from hydra_mobile.models.processor import MobileVLMProcessor


def check(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="LLaVA json, or jsonl with one record a line"),
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
            help="Longest conversation in tokens, picture included",
        ),
    ] = 2048,
    pictures: Annotated[
        Literal["decode", "header", "exists", "none"],
        typer.Option(help="How closely to look at pictures"),
    ] = "decode",
    workers: Workers = 0,
    examples: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=1_000_000, help="Examples of each kind of problem"),
    ] = 3,
) -> ui.Result:
    """Check a data file for all that training would stop at.

    With --base, tokens are counted with its tokenizer and template.
    """
    existing(file, "FILE")
    if template and not base:
        raise ConfigError(
            "--template needs a tokenizer",
            "--base NAME, for example --base smol",
            where="--template",
            found=template,
        )
    ui.title(f"Checking {file}")
    ui.prepare()
    from hydra_mobile.core.memory import peak_resident_bytes
    from hydra_mobile.data.check import CheckOptions, check_data
    from hydra_mobile.data.check_report import report_lines
    from hydra_mobile.data.json_stream import JsonRecords

    depth: Any = "full" if pictures == "decode" else pictures
    options = CheckOptions(images, depth, workers, _processor(base, template), max_length, examples)
    total = _megabytes(JsonRecords(file).bytes_total)
    with live.stage("records", total, 0, "records") as bar:
        seen = 0

        def progress(records: int, done: int, of: int) -> None:
            nonlocal seen
            step = min(total, _megabytes(done))
            bar.advance(step, records - seen, f"{records:,} records", peak_resident_bytes())
            seen = records

        result = check_data(file, options, progress)
    for text in report_lines(result):
        ui.line(text)
    if result.stopped == "interrupted":
        ui.going_on("What was read so far is above.")
        raise KeyboardInterrupt
    return ui.Result(
        result.to_dict(),
        next=[f"hydra-mobile train --config emojiqa-smol data.stage2={file} --dry-run"],
        failed=_failed(result),
    )


def _failed(result: CheckResult) -> CheckFailed | None:
    if not result.problems:
        return None
    return CheckFailed(
        f"{result.problems:,} of {result.records:,} records cannot be used",
        [
            "mend them at the places above, or leave them out of the training:",
            "data.bad_records=drop data.over_length=drop",
        ],
        where=str(result.file),
    )


def _megabytes(size: int) -> int:
    return max(1, round(size / 1e6))


def _processor(base: str, template: str) -> MobileVLMProcessor | None:
    """Return the processor that counts tokens, if any is asked for."""
    if not base:
        return None
    from hydra_mobile.models.processor import MobileVLMProcessor
    from hydra_mobile.models.registry import base_folder
    from hydra_mobile.models.templates import template_named

    processor = MobileVLMProcessor.from_pretrained(base_folder(base, ui.say))
    if template:
        processor.template = template_named(template)
    return processor
