"""`check_data`, and EmojiQA's data: what training reads, looked over and built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.core.progress import SILENT, Log, Progress, Stage, counted, silent
from hydra_mobile.core.quiet import quietly
from hydra_mobile.data.check import CheckOptions, CheckResult
from hydra_mobile.data.check import check_data as check
from hydra_mobile.data.check_report import report_lines
from hydra_mobile.data.convert import Converted
from hydra_mobile.data.convert import convert_data as convert
from hydra_mobile.data.head import Head, SeenRecord, data_head
from hydra_mobile.data.source import Source
from hydra_mobile.models.processor import MobileVLMProcessor

__all__ = [
    "CheckResult",
    "Converted",
    "Head",
    "Pictures",
    "SeenRecord",
    "build_emojiqa",
    "check_data",
    "convert_data",
    "head",
    "report_lines",
]

Pictures = Literal["decode", "header", "exists", "none"]


def check_data(
    file: str | Path,
    *,
    images: str | Path | None = None,
    base: str = "",
    template: str = "",
    max_length: int = 2048,
    pictures: Pictures = "decode",
    workers: int = 0,
    examples: int = 3,
    columns: Mapping[str, str] | None = None,
    log: Log = silent,
    progress: Progress = SILENT,
) -> CheckResult:
    """Check training data for all that training would stop at.

    Args:
        file: data in any form of docs/data.md: a file, a folder of shards or a hub id.
        images: folder of the images; None: the file's own.
        base: name or folder of a base whose tokenizer counts tokens; "": they are not counted.
        template: prompt template in place of the base's own.
        max_length: longest conversation in tokens, image included.
        pictures: how closely images are looked at.
        workers: parallel readers; 0 chooses.
        examples: how many examples of each kind of problem are kept.
        columns: other names of the data's fields, as in `data.columns`.
        log: receives a line for each step of fetching the base.
        progress: shows how far it is.

    Returns:
        What was found; interrupted, what was found so far (`stopped` says so).

    Raises:
        ConfigError: a template without a base.
        DataError: the file is missing.
    """
    if template and not base:
        raise ConfigError("A template needs a tokenizer.", "Give base too, for example `smol`.")
    with quietly():
        options = CheckOptions(
            Path(images) if images is not None else None,
            # The older name of this depth.
            "full" if pictures == "decode" else pictures,
            workers,
            _processor(base, template, log),
            max_length,
            examples,
            columns or {},
        )
        total = _megabytes(Source(Path(file), columns).bytes_total)
        with progress.stage("records", total, 0, "records") as stage:
            return check(Path(file), options, _report_to(stage, total))


def convert_data(
    file: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    drop_bad: bool = False,
    progress: Progress = SILENT,
) -> Converted:
    """Write training data of any form as LLaVA's json or jsonl, images beside it.

    Args:
        file: a file, a folder of shards or a hub id.
        out: the result; its name ends in .json or .jsonl.
        images: folder that image paths are relative to; None: the data's own.
        columns: other names of the data's fields, as in `data.columns`.
        drop_bad: leave out records that are not as expected, in place of an error.
        progress: shows how far it is.

    Raises:
        DataError: the data or a record of it cannot be used.
    """
    folder = Path(images) if images is not None else None
    total = _megabytes(Source(Path(file), columns).bytes_total)
    with progress.stage("records", total, 0, "records") as stage:
        report = _report_to(stage, total)
        return convert(
            Path(file), Path(out), images=folder, columns=columns, drop_bad=drop_bad,
            progress=report,
        )  # fmt: skip


def head(
    file: str | Path,
    count: int = 3,
    *,
    base: str = "",
    template: str = "",
    images: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    log: Log = silent,
) -> Head:
    """Return the first records of training data as the model sees them.

    Args:
        file: a file, a folder of shards or a hub id.
        count: how many records.
        base: name or folder of a base whose template and tokenizer are used; "": plain text.
        template: prompt template in place of the base's own.
        images: folder that image paths are relative to; None: the data's own.
        columns: other names of the data's fields, as in `data.columns`.
        log: receives a line for each step of fetching the base.

    Raises:
        ConfigError: a template without a base.
        DataError: the data cannot be read, or holds no record.
    """
    if template and not base:
        raise ConfigError("A template needs a tokenizer.", "Give base too, for example `smol`.")
    folder = Path(images) if images is not None else None
    with quietly():
        return data_head(Path(file), count, _processor(base, template, log), folder, columns)


def _report_to(stage: Stage, total: int) -> Callable[[int, int, int], None]:
    seen = 0

    def report(records: int, done: int, of: int) -> None:
        nonlocal seen
        step = min(total, _megabytes(done))
        stage.advance(step, records - seen, f"{records:,} records", peak_resident_bytes())
        seen = records

    return report


def _megabytes(size: int) -> int:
    return max(1, round(size / 1e6))


def _processor(base: str, template: str, log: Log) -> MobileVLMProcessor | None:
    """Return the processor that counts tokens, if any is asked for."""
    if not base:
        return None
    from hydra_mobile.models.loading import load_processor
    from hydra_mobile.models.registry import base_folder
    from hydra_mobile.models.templates import template_named

    processor = load_processor(base_folder(base, log))
    if template:
        processor.template = template_named(template)
        processor.placing = None  # how the base's own template writes several images
    return processor


def build_emojiqa(
    out: str | Path = "data/emojiqa",
    *,
    seed: int = 0,
    names: int | None = None,
    art: Mapping[str, str | Path] | None = None,
    test_questions: int = 480,
    quick: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """Build EmojiQA: questions about OpenMoji's drawings; instant where it is there already.

    Args:
        out: its folder.
        seed: same seed, same bytes.
        names: how many names are used; None: all.
        art: artist -> folder of more drawings, for the split "unseen_artist".
        test_questions: of each test split, a multiple of 48.
        quick: ask only what a small model learns within minutes: the class.
        progress: shows how many images are drawn.

    Returns:
        The folder: training data, test splits, images and a contact sheet.

    Raises:
        DataError: a value is out of range, or `out` holds other files.
    """
    from hydra_mobile.examples.emojiqa.dataset import build_emojiqa as build

    more: dict[str, Any] = {"art_folders": {name: Path(f) for name, f in (art or {}).items()}}
    with counted(progress, "images") as count:
        return build(
            Path(out),
            seed=seed,
            names=names,
            test_questions=test_questions,
            quick=quick,
            progress=count,
            **more,
        )
