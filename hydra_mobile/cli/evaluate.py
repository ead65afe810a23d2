"""`hydra-mobile evaluate`: scores, timings and agreement of any models, in one report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.benchmark_data import data_folder
from hydra_mobile.cli.options import (
    AllowPartial,
    Benchmarks,
    Data,
    Device,
    DryRun,
    Limit,
    Models,
    Protocol,
    Real,
    Score,
    Splits,
    Threads,
    TorchDevice,
    Workers,
    benchmark_names,
    existing,
    names,
    opened,
)
from hydra_mobile.cli.places import FolderPlace
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.core.errors import CheckFailed, HydraError

if TYPE_CHECKING:
    from hydra_mobile import Report


def evaluate(
    models: Models,
    benchmarks: Benchmarks = ["emojiqa"],  # noqa: B006  typer copies it
    score: Score = "",
    data: Data = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            parser=FolderPlace("report"),
            help="Folder of the report and of the answers",
        ),
    ] = Path("report"),
    protocol: Protocol = "",
    splits: Splits = "",
    limit: Limit = 0,
    threads: Threads = 0,
    workers: Workers = 0,
    dry_run: DryRun = False,
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
) -> ui.Result:
    """Score and time models on benchmarks.

    The first trained torch model is the reference of the others. Interrupted, the same command goes
    on at the next question. Started by torchrun, each process answers its part.
    """
    if from_shards:
        return merge_answers([Path(model) for model in models], out, allow_partial)
    chosen = benchmark_names(benchmarks, score)
    opened_models = [opened(model, "MODEL") for model in models]
    folder = data_folder(data, chosen, build=not dry_run)
    if not dry_run:
        ui.log_beside(out, "evaluate")
    ui.going_on("Answers so far stay; the same command goes on at the next question.")
    ui.prepare()
    from hydra_mobile.api.evaluate import EvalSettings, Shard, evaluation_of
    from hydra_mobile.cli.work_view import evaluation_facts

    part, grouped = Shard.asked(shard)
    settings = EvalSettings(
        benchmarks=chosen,
        data=folder,
        splits=tuple(names(splits)),
        limit=limit or None,
        threads=threads,
        protocol=protocol,
        workers=workers,
        shard=part,
        grouped=grouped,
        allow_partial=allow_partial,
        torch_device=torch_device,
    )
    planned = evaluation_of(opened_models, settings, out, device)
    found = planned.models
    many = "s" if len(found) > 1 else ""
    doing = "Would evaluate" if dry_run else "Evaluating"
    ui.title(f"{doing} {len(found)} model{many} on {', '.join(chosen)}")
    called = {given: ref.name for given, ref in zip(models, found, strict=True)}
    ui.facts(evaluation_facts(planned, called), result=dry_run)
    if dry_run:
        command = [each for each in ui.screen().command if each != "--dry-run"]
        return ui.Result(planned.to_dict(), next=[shlex.join(["hydra-mobile", *command])])
    report = planned.run(ui.say, progress)
    if report is None:
        ui.line(f"Answered part {planned.settings.shard}: {out}")
        return ui.Result({"out": out, "shard": str(planned.settings.shard), "report": None})
    from hydra_mobile.cli.report_view import report_data, show_report

    show_report(report.content, report.files)
    bundle = next((m for m, ref in zip(models, found, strict=True) if ref.kind == "bundle"), "")
    return ui.Result(
        report_data(report.content, report.files),
        next=[f"hydra-mobile chat {bundle or models[0]} --image IMAGE"],
        failed=_too_bad(report, max_drop, min_same),
    )


def _too_bad(report: Report, max_drop: float | None, min_same: float | None) -> HydraError | None:
    """Return what a limit of the caller's forbids; a drop counts where even its interval is one."""
    broken = []
    for comparison in report.content.comparisons:
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
        Path,
        typer.Option(
            metavar="DIR",
            parser=FolderPlace("report"),
            help="Folder for the whole; `evaluate --out` goes on",
        ),
    ] = Path("report"),
    allow_partial: AllowPartial = False,
) -> ui.Result:
    """Put answers that were given in parts together."""
    for folder in folders:
        existing(folder, "MODEL")
    ui.prepare()
    from hydra_mobile.api.evaluate import merge_shards

    made = []
    for merged in merge_shards(folders, out, allow_partial=allow_partial):
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
            "hydra-mobile evaluate runs/emojiqa BUNDLE --benchmarks my_test.jsonl --score anls",
            "hydra-mobile evaluate runs/emojiqa BUNDLE -q --max-drop 1",
        ],
        more="docs/benchmarks.md",
    )
