"""`hydra-mobile score`: the score of an existing answers file, with no model at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.benchmark_data import data_folder
from hydra_mobile.cli.options import (
    AllowPartial,
    Data,
    Protocol,
    Splits,
    benchmark_names,
    complete_benchmarks,
    existing,
    names,
)


def score(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="BENCHMARK",
            help="Its name (hydra-mobile benchmarks)",
            autocompletion=complete_benchmarks,
        ),
    ],
    answers: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="LLaVA's answers (jsonl), what the benchmark's own tool reads, or answers.jsonl "
            "of `evaluate`",
        ),
    ],
    data: Data = None,
    protocol: Protocol = "",
    splits: Splits = "",
    allow_partial: AllowPartial = False,
) -> ui.Result:
    """Score a file of answers, without a model.

    Answers are joined to the questions by key, never by position. A folder of answers that holds
    the right ones too (MME's) needs no --data.
    """
    (name,) = benchmark_names([benchmark])
    existing(answers, "--answers")
    folder = answers if data is None and answers.is_dir() else data
    folder = folder if folder and folder.exists() else data_folder(folder, (name,))
    ui.prepare()
    from hydra_mobile.api.benchmarks import lines_of
    from hydra_mobile.api.benchmarks import score as score_answers

    scored = score_answers(
        name,
        answers,
        folder,
        protocol=protocol,
        splits=names(splits),
        allow_partial=allow_partial,
    )
    for text in lines_of(scored):
        ui.line(text)
    return ui.Result(
        scored.to_dict(),
        next=[f"hydra-mobile score {name} --answers {answers} --json > scores.json"],
    )


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        score,
        panel=panel,
        examples=["hydra-mobile score pope --answers answers.jsonl --data benchmark_data"],
        more="docs/benchmarks.md",
    )
