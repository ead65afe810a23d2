"""`hydra-mobile evaluate`: scores, timings and agreement of any models, in one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.benchmark_data import data_folder
from hydra_mobile.cli.options import (
    AllowPartial,
    Benchmarks,
    Data,
    Device,
    Limit,
    Models,
    Protocol,
    Real,
    Splits,
    Threads,
    TorchDevice,
    Workers,
    benchmark_names,
    existing,
    names,
)
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.core.errors import CheckFailed, ConfigError, HydraError


def evaluate(
    models: Models,
    benchmarks: Benchmarks = ["emojiqa"],  # noqa: B006  typer copies it
    data: Data = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the report and of the answers")
    ] = Path("report"),
    protocol: Protocol = "",
    splits: Splits = "",
    limit: Limit = 0,
    threads: Threads = 0,
    workers: Workers = 0,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Answer only part I of N", rich_help_panel="Parts")
    ] = "",
    from_shards: Annotated[
        bool,
        typer.Option(
            "--from-shards",
            help="MODEL... are folders of shards: put their answers together in --out",
            rich_help_panel="Parts",
        ),
    ] = False,
    allow_partial: AllowPartial = False,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            parser=Real(0.0, 10_000.0),
            help="Exit with 3 where a model surely loses more than this",
            rich_help_panel="For CI",
        ),
    ] = None,
    min_same: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            parser=Real(0.0, 1.0),
            help="Exit with 3 where fewer answers are the reference's",
            rich_help_panel="For CI",
        ),
    ] = None,
    torch_device: Annotated[
        TorchDevice, typer.Option("--torch-device", help="Where torch runs")
    ] = "auto",
    device: Device = "host",
    interpret_coreml: Annotated[bool, typer.Option("--interpret-coreml", hidden=True)] = False,
) -> ui.Result:
    """Score and time models on benchmarks.

    The first trained torch model is the reference of the others. Interrupted, the same command goes
    on at the next question. Started by torchrun, each process answers its part.
    """
    if from_shards:
        return merge_answers([Path(model) for model in models], out, allow_partial)
    chosen = benchmark_names(benchmarks)
    for model in models:
        if "/" in model and not Path(model.partition("#")[0]).exists():
            existing(Path(model.partition("#")[0]), "MODEL")
    folder = data_folder(data, chosen)
    ui.log_beside(out, "evaluate")
    ui.going_on("Answers so far stay; the same command goes on at the next question.")
    ui.prepare()
    from hydra_mobile.evaluation.evaluate import EvalSettings
    from hydra_mobile.evaluation.results.report import report_on
    from hydra_mobile.evaluation.store.shards import Shard
    from hydra_mobile.evaluation.workers.placement import moved
    from hydra_mobile.runtimes.model_ref import model_at

    group = Shard.of_process()
    if group and shard:
        raise ConfigError("--shard and torchrun both name a part", "give one of them")
    part = group or (Shard.parse(shard) if shard else Shard())
    settings = EvalSettings(
        benchmarks=chosen,
        data=folder,
        splits=names(splits),
        limit=limit or None,
        threads=threads,
        protocol=protocol,
        workers=workers,
        shard=part,
        grouped=group is not None,
        allow_partial=allow_partial,
        interpret_coreml=interpret_coreml,
        torch_device=_torch_device(torch_device),
    )
    found = moved([model_at(model) for model in models], device)
    many = "s" if len(found) > 1 else ""
    ui.title(f"Evaluating {len(found)} model{many} on {', '.join(chosen)}")
    ui.facts(
        {
            "models": "\n".join(
                f"{ref.name}: {model}" for ref, model in zip(found, models, strict=True)
            ),
            "data": str(folder),
            "torch on": settings.torch_device if any(r.runner == "torch" for r in found) else "",
            "out": str(out),
        }
    )
    report = report_on(found, settings, out, ui.say, progress)
    if report is None:
        ui.line(f"Answered part {shard}: {out}")
        return ui.Result({"out": out, "shard": shard, "report": None})
    from hydra_mobile.cli.report_view import report_data, show_report

    files = [out / f"report.{kind}" for kind in ("html", "md", "json")]
    files = [file for file in files if file.is_file()]
    show_report(report, files)
    bundle = next((m for m, ref in zip(models, found, strict=True) if ref.kind == "bundle"), "")
    return ui.Result(
        report_data(report, files),
        next=[f"hydra-mobile chat {bundle or models[0]} --image PICTURE"],
        failed=_too_bad(report, max_drop, min_same),
    )


def _torch_device(wanted: str) -> str:
    if wanted not in ("auto", "cuda"):
        return wanted
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError(
            "torch sees no GPU",
            "--torch-device cpu",
            where="--torch-device",
            found="cuda, without a CUDA device",
        )
    return "cpu"


def _too_bad(report: object, max_drop: float | None, min_same: float | None) -> HydraError | None:
    """Return what a limit of the caller's forbids; a drop counts where even its interval is one."""
    from hydra_mobile.reporting.schema import Report

    assert isinstance(report, Report)
    broken = []
    for comparison in report.comparisons:
        where = f"{comparison.system} on {comparison.benchmark}"
        share = comparison.same / max(1, comparison.n)
        if min_same is not None and share < min_same:
            broken.append(f"{where}: {share:.1%} same answers, at least {min_same:.1%} wanted")
        for change in comparison.changes:
            scale = 100.0 if change.unit == "share" else 1.0
            if max_drop is not None and change.headline and -scale * change.high > max_drop:
                broken.append(
                    f"{where}: {scale * change.change:+.1f} points, at best "
                    f"{scale * change.high:+.1f}; {max_drop:g} may be lost"
                )
    if not broken:
        return None
    return CheckFailed("a model is worse than allowed", found="\n".join(broken))


def merge_answers(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="What `evaluate --shard` wrote")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the whole; `evaluate --out` goes on")
    ] = Path("report"),
    allow_partial: AllowPartial = False,
) -> ui.Result:
    """Put answers that were given in parts together."""
    for folder in folders:
        existing(folder, "MODEL")
    ui.prepare()
    from hydra_mobile.evaluation.store.merge_shards import merge_all

    made = []
    for merged in merge_all(folders, out, allow_partial=allow_partial):
        whole = merged.answers == merged.questions
        file = merged.folder / "answers.jsonl"
        ui.line(
            f"{merged.title}: {merged.answers:,} "
            + ("answers" if whole else f"of {merged.questions:,} answers, incomplete")
        )
        ui.line(f"  {file}")
        made.append(
            {
                "title": merged.title,
                "answers": merged.answers,
                "questions": merged.questions,
                "path": file,
            }
        )
    ui.note(f"To score them: the evaluate command with --out {out} and without --shard.")
    return ui.Result({"out": out, "merged": made})


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        evaluate,
        panel=panel,
        examples=[
            "hydra-mobile evaluate smol runs/emojiqa",
            "hydra-mobile evaluate runs/emojiqa BUNDLE --benchmarks pope,mme --limit 200",
            "hydra-mobile evaluate runs/emojiqa BUNDLE -q --max-drop 1",
        ],
        more="docs/benchmarks.md",
    )
