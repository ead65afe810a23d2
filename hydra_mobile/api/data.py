"""`check_data`, and EmojiQA's data: what training reads, looked over and built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.core.progress import SILENT, Log, Progress, counted, silent
from hydra_mobile.core.quiet import quietly
from hydra_mobile.data.check import CheckOptions, CheckResult
from hydra_mobile.data.check import check_data as check
from hydra_mobile.data.check_report import report_lines
from hydra_mobile.data.json_stream import JsonRecords
from hydra_mobile.models.processor import MobileVLMProcessor

__all__ = ["CheckResult", "Pictures", "build_emojiqa", "check_data", "report_lines"]

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
    log: Log = silent,
    progress: Progress = SILENT,
) -> CheckResult:
    """Check a LLaVA data file for all that training would stop at.

    Args:
        file: json, or jsonl with one record a line.
        images: folder of the images; None: the file's own.
        base: name or folder of a base whose tokenizer counts tokens; "": they are not counted.
        template: prompt template in place of the base's own.
        max_length: longest conversation in tokens, image included.
        pictures: how closely images are looked at.
        workers: parallel readers; 0 chooses.
        examples: how many examples of each kind of problem are kept.
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
        )
        total = _megabytes(JsonRecords(Path(file)).bytes_total)
        with progress.stage("records", total, 0, "records") as stage:
            seen = 0

            def report(records: int, done: int, of: int) -> None:
                nonlocal seen
                step = min(total, _megabytes(done))
                stage.advance(step, records - seen, f"{records:,} records", peak_resident_bytes())
                seen = records

            return check(Path(file), options, report)


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
    return processor


def build_emojiqa(
    out: str | Path = "data/emojiqa",
    *,
    seed: int = 0,
    names: int | None = None,
    art: Mapping[str, str | Path] | None = None,
    test_questions: int = 480,
    progress: Progress = SILENT,
) -> Path:
    """Build EmojiQA: questions about OpenMoji's drawings; instant where it is there already.

    Args:
        out: its folder.
        seed: same seed, same bytes.
        names: how many names are used; None: all.
        art: artist -> folder of more drawings, for the split "unseen_artist".
        test_questions: of each test split, a multiple of 48.
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
            progress=count,
            **more,
        )
