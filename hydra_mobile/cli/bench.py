"""`hydra-mobile bench`: speed, memory and size of artifacts, here or on a phone."""

from __future__ import annotations

from pathlib import Path

import typer


def bench(
    artifacts: list[str] = typer.Argument(..., help="Bundles; on the host also runs and models."),
    device: str = typer.Option(
        "host", help="host, native (C++ without torch), adb[:SERIAL] or app[:SERIAL]."
    ),
    prompt_tokens: int = typer.Option(
        64, help="Tokens of the prompt, template and image included."
    ),
    new_tokens: int = typer.Option(32, help="Tokens of each answer."),
    repeats: int = typer.Option(5, help="Measured answers of each process."),
    warmup: int = typer.Option(1, help="Answers before them, left out."),
    rounds: int = typer.Option(
        2, help="Processes per artifact: the first loads cold, others warm."
    ),
    threads: int = typer.Option(0, help="Threads of the runtime; 0: its own choice."),
    json: Path = typer.Option(None, help="File for every single measurement."),
    against: Path = typer.Option(None, help="Earlier --json file to compare with."),
) -> None:
    """Measure load, encode, prefill, first token, decode, peak memory and size.

    Several artifacts take turns, so that a slow spell of the machine falls on all. Interrupted, it
    shows and keeps what was measured.
    """
    from hydra_mobile.cli.console import console, prepare, progress, say

    prepare()
    from hydra_mobile.bench.plan import Plan
    from hydra_mobile.bench.run import bench as measure
    from hydra_mobile.bench.run import read_result
    from hydra_mobile.bench.table import comparison, table_of
    from hydra_mobile.core.errors import HydraError
    from hydra_mobile.core.files import write_json
    from hydra_mobile.evaluation.workers.placement import moved
    from hydra_mobile.runtimes.model_ref import distinct, model_at

    plan = Plan(prompt_tokens, new_tokens, repeats, warmup, rounds, threads)
    earlier = read_result(against) if against else None  # before anything is measured
    found = distinct(moved([model_at(path) for path in artifacts], device))
    result = measure(found, plan, device, say, progress)
    if not result["rows"]:
        raise HydraError("Interrupted before anything was measured.")
    console.print(table_of(result))
    if json:
        write_json(json, result)
        say(f"written to {json}")
    for line in comparison(result, earlier) if earlier else ():
        say(line)
    if result["interrupted"]:
        raise HydraError("Interrupted: some artifacts were measured less often, or not at all.")
