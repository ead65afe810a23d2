"""`hydra-mobile bench`: speed, memory and size of models, here or on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Device, Models, Threads, existing
from hydra_mobile.cli.ui.live import progress


def bench(
    models: Models,
    device: Device = "host",
    prompt_tokens: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=1_000_000, help="Tokens of the prompt, picture included"
        ),
    ] = 64,
    new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="Tokens of each answer")
    ] = 32,
    repeats: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=1_000_000, help="Measured answers of each process"),
    ] = 5,
    warmup: Annotated[
        int, typer.Option(metavar="N", min=0, max=1_000_000, help="Answers before them, left out")
    ] = 1,
    rounds: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=1_000_000,
            help="Processes of each model: the first loads cold, others warm",
        ),
    ] = 2,
    threads: Threads = 0,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Earlier result (--json > FILE) to compare with"),
    ] = None,
) -> ui.Result:
    """Measure speed, memory and size.

    Several models take turns, so that a slow spell of the machine falls on all. Interrupted, it
    shows and keeps what was measured.
    """
    if against:
        existing(against, "--against")
    ui.title(f"Measuring on {device}")
    ui.facts(
        {
            "plan": f"{rounds} processes x {repeats} answers each; prompt {prompt_tokens} tokens, "
            f"{new_tokens} new; threads {threads or 'auto'}",
        }
    )
    ui.prepare()
    from hydra_mobile.bench.plan import Plan
    from hydra_mobile.bench.run import bench as measure
    from hydra_mobile.bench.run import read_result
    from hydra_mobile.bench.table import comparison
    from hydra_mobile.evaluation.workers.placement import moved
    from hydra_mobile.runtimes.model_ref import distinct, model_at

    plan = Plan(prompt_tokens, new_tokens, repeats, warmup, rounds, threads)
    earlier = read_result(against) if against else None  # before anything is measured
    found = distinct(moved([model_at(path) for path in models], device))
    result = measure(found, plan, device, ui.say, progress)
    if not result["rows"]:
        raise KeyboardInterrupt
    _show(result)
    for text in comparison(result, earlier) if earlier else ():
        ui.line(text)
    if result["interrupted"]:
        ui.going_on("Some models were measured less often, or not at all; the figures are above.")
        raise KeyboardInterrupt
    command = " ".join(["hydra-mobile bench", *models])
    return ui.Result(
        result, next=[f"{command} --json > before.json", f"{command} --against before.json"]
    )


def _show(result: dict[str, Any]) -> None:
    """Print medians with quartiles, a model a column."""
    from hydra_mobile.bench.table import rows_of

    rows = result["rows"]
    columns = [ui.Column("median [quartiles]"), *(ui.Column(r["name"], right=True) for r in rows)]
    ui.table(columns, rows_of(result))


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        bench,
        panel=panel,
        examples=["hydra-mobile bench BUNDLE", "hydra-mobile bench BUNDLE --device adb"],
        more="docs/devices.md",
    )
