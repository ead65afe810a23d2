"""`hydra-mobile score`: the score of an existing answers file, with no model at all."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.core.errors import ConfigError


def score(
    benchmark: str = typer.Argument(..., help=f"One of {', '.join(BENCHMARKS)}."),
    answers: Path = typer.Option(
        ...,
        help="LLaVA's answers (jsonl), what the benchmark's own tool reads (POPE's file for each "
        "split in a folder, MME's folder of results, MMBench's xlsx, GQA's predictions), or "
        "answers.jsonl of `evaluate`.",
    ),
    data: Path | None = typer.Option(
        None,
        help="The folder of the official data, the benchmark's own folder in it, or its file of "
        "annotations; may be left out where the answers hold the right answers too (MME's folder).",
    ),
    protocol: str = typer.Option("", help="How the questions were asked; empty: llava-1.5."),
    splits: str = typer.Option("", help="Comma-separated splits; empty: all."),
    allow_partial: bool = typer.Option(
        False, help="Score what fits although answers are missing or odd; the result says so."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of the table."),
) -> None:
    """Score an answers file; answers are joined to the questions by key, never by position."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_mobile.evaluation.results.score_file import lines_of, score_answers

    if data is None and not answers.is_dir():
        raise ConfigError(
            "--data is missing: the questions with their right answers.",
            "Give the folder of the official data.",
        )
    scored = score_answers(
        benchmark,
        answers,
        data or answers,
        protocol=protocol,
        splits=tuple(split for split in splits.split(",") if split),
        allow_partial=allow_partial,
    )
    if as_json:
        typer.echo(json.dumps(scored.to_dict(), indent=2, ensure_ascii=False))
        return
    for line in lines_of(scored):
        say(line)
