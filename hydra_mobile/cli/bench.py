"""`hydra-mobile bench`: speed, memory and size of models, here or on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Device, Models, Threads, existing, opened
from hydra_mobile.cli.ui.faults import interruption
from hydra_mobile.cli.ui.live import progress


def bench(
    models: Models,
    device: Device = "host",
    prompt_tokens: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=1_000_000, help="Tokens of the prompt, image included"
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
    from hydra_mobile.api.bench import Measurements
    from hydra_mobile.api.bench import bench as measure

    earlier = Measurements.read(against) if against else None  # before anything is measured
    result = measure(
        [opened(model, "MODEL") for model in models],
        device=device,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        repeats=repeats,
        warmup=warmup,
        rounds=rounds,
        threads=threads,
        log=ui.say,
        progress=progress,
    )
    if not result.models:
        raise interruption()
    columns = [ui.Column("median [quartiles]")]
    columns += [ui.Column(name, right=True) for name in result.models]
    ui.table(columns, result.rows())
    for text in result.against(earlier) if earlier else ():
        ui.line(text)
    if result.interrupted:
        ui.going_on("Some models were measured less often, or not at all; the figures are above.")
        raise interruption()
    command = " ".join(["hydra-mobile bench", *models])
    return ui.Result(
        result.content, next=[f"{command} --json > before.json", f"{command} --against before.json"]
    )


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        bench,
        panel=panel,
        examples=["hydra-mobile bench BUNDLE", "hydra-mobile bench BUNDLE --device adb"],
        more="docs/devices.md",
    )
