"""`hydra-mobile verify`: the parity ladder, from golden vectors alone to every form of a model."""

from __future__ import annotations

from pathlib import Path

import typer


def verify(
    bundle: Path = typer.Argument(
        ..., help="Bundle folder; BUNDLE#NAME for another of its adapters."
    ),
    run: Path = typer.Option(None, help="Run whose adapter is compared with its merged model."),
    adapter: Path = typer.Option(None, help="Adapter folder, in place of --run; needs --merged."),
    merged: Path = typer.Option(
        None, help="Merged folder that the bundle was exported from; default: merged/ of the run."
    ),
    program: Path = typer.Option(
        None, help="fp32 bundle of the same model, as a rung below a quantized one."
    ),
    benchmark: str = typer.Option("emojiqa", help="Benchmark that --data is of."),
    data: Path = typer.Option(
        None, help="Its data folder: every form answers a slice, and the change of score is told."
    ),
    limit: int = typer.Option(100, help="About this many questions per split; 0: all."),
    device: str = typer.Option(
        "host",
        help="Where the bundle runs as a last rung: native (C++ without torch) or emulator (arm64 "
        "under qemu). host: nowhere else.",
    ),
    json: Path = typer.Option(None, help="File to write the ladder to."),
    report: Path = typer.Option(
        None, help="Folder of a report that gets a row for each rung; made if it is not there."
    ),
) -> None:
    """Check that an exported bundle computes what the merged model computed; exit code 3 if not.

    With the run or the merged folder, that adapter, merged model and bundle compute the same.
    """
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_mobile.benchmarks.base import Benchmark
    from hydra_mobile.core.errors import HydraError
    from hydra_mobile.core.files import write_json
    from hydra_mobile.evaluation.workers.placement import runner_on
    from hydra_mobile.parity.suite import run_suite
    from hydra_mobile.parity.task_score import TaskSubset

    if run and adapter:
        raise HydraError("--run and --adapter name the same thing.", "Give one of them.")
    questions = None
    if data:
        questions = TaskSubset(Benchmark.open(benchmark, data), limit or None)
    ladder = run_suite(
        bundle,
        adapter=run or adapter,
        merged=merged,
        program=program,
        device=runner_on(device, bundle),
        questions=questions,
        log=say,
    )
    say(ladder.table())
    if json:
        write_json(json, ladder.to_dict())
    if report:
        from hydra_mobile.reporting.write import add_parity

        say(f"rows added to {add_parity(report, ladder.rows())}")
    ladder.require()
