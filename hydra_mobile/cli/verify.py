"""`hydra-mobile verify`: whether every form of a model computes the same, up to the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_mobile.benchmarks.own.names import own_name
from hydra_mobile.cli import ui
from hydra_mobile.cli.benchmark_data import data_folder
from hydra_mobile.cli.options import (
    Benchmarks,
    CountOr,
    Data,
    Device,
    benchmark_names,
    opened,
)
from hydra_mobile.cli.places import FolderPlace
from hydra_mobile.core.errors import ConfigError, HydraError, ParityError

if TYPE_CHECKING:
    from hydra_mobile.api.verify import Comparison, ParityResult


def verify(
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE", help="Bundle folder; BUNDLE#NAME for another of its adapters"
        ),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="MODEL",
            show_default="the recorded run",
            help="Run, adapter, merged folder or fp32 bundle to compare with; repeatable",
        ),
    ] = None,
    benchmarks: Benchmarks = ["emojiqa"],  # noqa: B006  typer copies it
    data: Data = None,
    limit: Annotated[
        int,
        typer.Option(
            parser=CountOr("all"), metavar="N", help="Questions of each split, or all (--data)"
        ),
    ] = 100,
    device: Device = "host",
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=FolderPlace("report"),
            help="Report that gets a row for each step",
        ),
    ] = None,
) -> ui.Result:
    """Check that a bundle computes what was trained.

    Compares adapter, merged model and bundle part by part on the golden questions; with --data,
    also the score on a benchmark.
    """
    path = opened(bundle, "BUNDLE", names=False)
    chosen = benchmark_names(benchmarks)
    ui.title(f"Verifying {bundle}")
    ui.prepare()
    from hydra_mobile.api.verify import recorded_run
    from hydra_mobile.api.verify import verify as run_verify

    forms = _forms(against or [])
    if not any(forms.values()):
        forms["run"] = recorded_run(path.partition("#")[0])
    named = ", ".join(str(path) for path in forms.values() if path)
    ui.facts(
        {
            "against": named or "the golden vectors in the bundle",
            "device": "" if device == "host" else device,
        }
    )
    found = run_verify(
        path,
        **forms,
        benchmark=chosen[0],
        data=data_folder(data, chosen[:1]) if data or own_name(chosen[0]) else None,
        limit=limit or None,
        device=device,
        report=report,
        log=ui.say,
    )
    _show(found)
    if report:
        ui.note(f"rows added to {report / 'report.json'}")
    if not found.passed:
        return ui.Result(found.to_dict(), failed=_failure(found, bundle))
    ui.verdict(True, "The bundle computes what was trained, within what its preset allows.")
    model = named.split(", ")[0] if named else "RUN"
    return ui.Result(
        found.to_dict(),
        next=[f"hydra-mobile evaluate {model} {bundle}", f"hydra-mobile bench {bundle}"],
    )


def _forms(paths: list[str]) -> dict[str, Path | None]:
    """Tell the models of --against apart: run or adapter, merged folder, fp32 bundle."""
    found: dict[str, Path | None] = {"run": None, "merged": None, "program": None}
    for text in paths:
        path = Path(opened(text, "--against", names=False))
        if (path / "manifest.json").is_file():
            kind = "program"
        elif (path / "run.json").is_file() or (path / "adapter_config.json").is_file():
            kind = "run"
        else:
            kind = "merged"
        if found[kind]:
            raise ConfigError(
                "two models of one kind are given to compare with",
                "leave one of them out",
                where="--against",
                found=f"{found[kind]} and {path}",
            )
        found[kind] = path
    return found


def _show(found: ParityResult) -> None:
    """Print a row for each step, and below it the parts where -v asks or a step broke."""
    rows = []
    for step in found.comparisons:
        mark = "\u2713" if step.passed else "\u2717"
        part, measured, needed = _worst(step)
        rows.append((f"{mark} {step.name.replace(' → ', ' = ')}", part, measured, needed))
    columns = [ui.Column("step"), ui.Column("part"), ui.Column("measured", right=True)]
    ui.table([*columns, ui.Column("needed", right=True)], rows)
    for step in found.comparisons:
        if not step.passed or ui.screen().settings.verbose:
            ui.blank()
            for text in step.table().split("\n"):
                ui.line(f"  {text}")


def _worst(step: Comparison) -> tuple[str, str, str]:
    """Return the part that says most: what broke, else the whole, with its figure and bound."""
    broken = step.broken
    parts = [part for part in step.parts if part.status != "absent"]
    shown = next((p for p in parts if p.part in broken), None)
    shown = shown or next((p for p in parts if p.part == "whole"), parts[0])
    answers = f"answers {step.agreement:.0%}"
    needed = f"{step.tolerance.agreement:.0%}"
    if shown.part == "whole" or shown.max_abs is None:
        return "answer tokens", answers.removeprefix("answers "), needed
    return shown.part, f"{shown.max_abs:.1e}", ""


def _failure(found: ParityResult, bundle: str) -> HydraError:
    broken = [step for step in found.comparisons if not step.passed]
    first = broken[0]
    parts = ", ".join(first.broken) or "the answers"
    return ParityError(
        f"{bundle} does not compute what was trained: {first.name} differs at {parts}",
        [
            "make it again: hydra-mobile export RUN --force --out BUNDLE",
            "int4 of a small model may need more bits: --preset int8",
        ],
        where=parts,
        found=first.failures[0].rstrip(".") if first.failures else "",
        expected="every part within its tolerance",
    )


_OLD: dict[str, str] = {
    "--run": "--against",
    "--adapter": "--against",
    "--merged": "--against",
    "--program": "--against",
    "--benchmark": "--benchmarks",
}


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    options: dict[str, Any] = {"renamed": _OLD}
    ui.add(
        app,
        verify,
        panel=panel,
        examples=[
            "hydra-mobile verify BUNDLE",
            "hydra-mobile verify BUNDLE --against runs/emojiqa --device native",
        ],
        more="docs/export.md",
        **options,
    )
