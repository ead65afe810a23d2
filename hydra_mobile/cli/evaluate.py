"""`hydra-mobile evaluate`: scores, timings and agreement of any artifacts, in one report."""

from __future__ import annotations

from pathlib import Path

import typer


def evaluate(
    artifacts: list[str] = typer.Argument(
        ...,
        help="Runs, merged folders, bundles or a base; the first trained torch one is the "
        "reference of the others.",
    ),
    benchmarks: str = typer.Option("emojiqa", help="Comma-separated benchmarks."),
    data: Path = typer.Option(..., help="Their data folder, or the one of a single benchmark."),
    out: Path = typer.Option(
        Path("report"), help="Folder for report.json, .md and .html, and for the answers."
    ),
    protocol: str = typer.Option(
        "",
        help="llava-1.5 or mobilevlm; BENCHMARK=NAME,... for some of them; empty: llava-1.5.",
    ),
    splits: str = typer.Option("", help="Comma-separated splits; empty: all."),
    limit: int = typer.Option(0, help="About this many questions per split; 0: all."),
    threads: int = typer.Option(0, help="CPU threads altogether; 0: all cores."),
    workers: int = typer.Option(
        0, help="Processes per artifact; 0: one per core for small models, else one."
    ),
    shard: str = typer.Option(
        "", help="i/n: answer only that part; `merge-answers` puts the parts together."
    ),
    allow_partial: bool = typer.Option(
        False,
        "--allow-partial",
        help="Leave out questions whose picture is missing or that do not fit; marks the result.",
    ),
    torch_device: str = typer.Option(
        "cpu", help="Where eager torch runs: cpu, or cuda (under torchrun a GPU per process)."
    ),
    device: str = typer.Option(
        "host",
        help="Where ExecuTorch bundles run: host, native (C++ without torch), or emulator (arm64 "
        "under qemu: parity, no timings). The last two need --attention manual at export.",
    ),
    interpret_coreml: bool = typer.Option(
        False,
        "--interpret-coreml",
        help="Interpret CoreML bundles where CoreML cannot run; slow, and no Apple kernel runs.",
    ),
) -> None:
    """Answer benchmarks with each artifact and write one report.

    Interrupted, the same command goes on at the next question. Started by torchrun, each process
    answers its part and the first reports.
    """
    from hydra_mobile.cli.console import console, prepare, progress, say

    prepare()
    from hydra_mobile.core.errors import ConfigError
    from hydra_mobile.evaluation.evaluate import EvalSettings
    from hydra_mobile.evaluation.results.report import report_on
    from hydra_mobile.evaluation.store.shards import Shard
    from hydra_mobile.evaluation.workers.placement import moved
    from hydra_mobile.reporting.console import print_report
    from hydra_mobile.runtimes.model_ref import model_at

    group = Shard.of_process()
    if group and shard:
        raise ConfigError("--shard and torchrun both name a part.", "Give one of them.")
    if min(limit, threads, workers) < 0:
        raise ConfigError("--limit, --threads and --workers are 0 or more.")
    if torch_device not in ("cpu", "cuda"):
        raise ConfigError(f"--torch-device is `{torch_device}`.", "Valid: cpu, cuda.")
    part = group or (Shard.parse(shard) if shard else Shard())
    settings = EvalSettings(
        benchmarks=_names(benchmarks),
        data=data,
        splits=_names(splits),
        limit=limit or None,
        threads=threads,
        protocol=protocol,
        workers=workers,
        shard=part,
        grouped=group is not None,
        allow_partial=allow_partial,
        interpret_coreml=interpret_coreml,
        torch_device=torch_device,
    )
    # Of a group only the first speaks, apart from errors.
    talks = group is None or group.number == 1
    placed = moved([model_at(a) for a in artifacts], device)
    if not talks:
        report_on(placed, settings, out)
        return
    report = report_on(placed, settings, out, say, progress)
    if report is not None:
        print_report(report, console)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
