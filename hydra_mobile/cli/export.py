"""`hydra-mobile export`: a trained model to a bundle for one target."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hydra_export.targets import TARGETS, writer_for
from hydra_mobile.api.paths import default_bundle_folder
from hydra_mobile.bundle.presets import PRESETS, SELF
from hydra_mobile.cli import ui
from hydra_mobile.cli.data_options import is_here
from hydra_mobile.cli.options import (
    DryRun,
    Force,
    Images,
    Model,
    Private,
    Push,
    Real,
    Threads,
    existing,
    opened,
)
from hydra_mobile.cli.places import FolderPlace, require_place, run_of
from hydra_mobile.cli.push import preparing_push
from hydra_mobile.cli.ui.formats import clock, megabytes
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import json_if_sound

if TYPE_CHECKING:
    from hydra_mobile import Bundle

    Target = str
    RuntimeName = str
    PresetName = str
else:
    # Choices are what is registered; their modules are light.
    Target = Literal[*TARGETS]
    RuntimeName = Literal[*{name: 0 for each in TARGETS.values() for name in each.runtimes}]
    PresetName = Literal[*PRESETS]


def export(
    model: Model,
    target: Annotated[Target, typer.Option(help="Where it will run")] = "android",
    runtime: Annotated[
        RuntimeName | None, typer.Option(show_default="by --target", help="What runs it")
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(show_default="int4; for coreml int8", help="Precision"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=FolderPlace("bundle"),
            show_default="RUN/bundles/TARGET-RUNTIME-PRESET",
            help="Bundle folder",
        ),
    ] = None,
    force: Force = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Data that 4-bit weights are rounded on, or self: text that the model writes; "
            "default: the run's training data",
        ),
    ] = None,
    images: Images = None,
    adapter: Annotated[
        Literal["merged", "separate"],
        typer.Option(
            help="merged into the weights, or separate (onnx): a file that can be swapped; slower"
        ),
    ] = "merged",
    threads: Threads = 0,
    push: Push = "",
    private: Private = False,
    dry_run: DryRun = False,
    max_context: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=16,
            max=1_000_000,
            help="Tokens that the cache holds",
            rich_help_panel="Limits",
        ),
    ] = 512,
    max_prefill: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=1_000_000,
            help="Most tokens of one decoder call",
            rich_help_panel="Limits",
        ),
    ] = 256,
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="Name of a separate adapter", rich_help_panel="Advanced"),
    ] = "default",
    golden: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Data file for the golden questions; default: the run's own",
            rich_help_panel="Advanced",
        ),
    ] = None,
    min_fast_path: Annotated[
        float,
        typer.Option(
            metavar="X",
            parser=Real(0.0, 1.0),
            help="Least share of work on fast kernels",
            rich_help_panel="Advanced",
        ),
    ] = 0.95,
    attention: Annotated[
        Literal["auto", "custom", "manual"],
        typer.Option(
            help="ExecuTorch's decoder: custom decodes fastest, manual needs no operators of its "
            "own; auto is custom",
            rich_help_panel="Advanced",
        ),
    ] = "auto",
    vision_backend: Annotated[
        Literal["auto", "vulkan", "npu"],
        typer.Option(
            metavar="NAME",
            help="Write the vision encoder a second time: vulkan (executorch) for GPUs or npu "
            "(onnx), never executed there; auto: do not",
            rich_help_panel="Advanced",
        ),
    ] = "auto",
) -> ui.Result:
    """Make a bundle for Android, iOS or ONNX Runtime.

    Program, tokenizer, prompt template and golden vectors in one folder that a phone app reads. A
    run is merged first.
    """
    for option, file in (("--calibrate", calibrate), ("--golden", golden), ("--images", images)):
        if file and (option, str(file)) != ("--calibrate", SELF) and not is_here(file):
            existing(file, option)
    # What cannot be done is told before the model is opened.
    writer, selected = writer_for(
        target,
        runtime,
        preset,
        calibrate=calibrate is not None and str(calibrate) != SELF,
        adapters=adapter == "separate",
        attention=attention,
        vision_backend=vision_backend,
    )
    chosen, precision = writer.runtime, selected.name
    given, model = model, opened(model, "MODEL")
    made = out or default_bundle_folder(Path(model), target, chosen, precision)
    label = f"{chosen} {precision} for {target}"
    older = _older(made)
    require_place(made, "bundle", force, "" if older in ("", label) else older)
    if not dry_run:
        run = run_of(Path(model))
        ui.log_beside(run or made.with_name(f"{made.name}.logs"), f"export-{made.name}")
    ui.title(f"{'Would export' if dry_run else 'Exporting'} {given} for {target}")
    ui.prepare()
    from hydra_mobile.api.export import plan_export
    from hydra_mobile.cli.work_view import export_facts

    work = plan_export(
        model,
        target,
        runtime=chosen,
        preset=precision,
        out=made,
        calibrate=calibrate,
        images=images,
        adapter=adapter,
        attention=attention,
        vision_backend=vision_backend,
        max_context=max_context,
        max_prefill=max_prefill,
    )
    ui.facts(export_facts(work), result=dry_run)
    if dry_run:
        command = [each for each in ui.screen().command if each != "--dry-run"]
        return ui.Result(work.to_dict(), next=[shlex.join(["hydra-mobile", *command])])
    put = preparing_push(push, private)
    ui.going_on("An older bundle stays as it was; nothing half-written is kept.")
    began = time.monotonic()
    bundle = work.run(
        golden=golden,
        name=name,
        threads=threads,
        min_fast_path=min_fast_path,
        force=force,
        log=ui.say,
    )
    result = _result(bundle, made, given, target, time.monotonic() - began)
    return replace(result, data={**result.data, **put(made)})


def _older(folder: Path) -> str:
    """Return what the bundle at `folder` is, for example "executorch int4 for android"."""
    manifest = json_if_sound(folder / "manifest.json")
    try:
        return f"{manifest['runtime']} {manifest['preset']['name']} for {manifest['target']}"
    except (KeyError, TypeError):
        return ""


def _result(bundle: Bundle, made: Path, model: str, target: str, seconds: float) -> ui.Result:
    from hydra_mobile.api.estimate import memory_of
    from hydra_mobile.cli.footprint_tables import show_phones

    memory = {}
    try:
        found = memory_of(bundle)
        show_phones(found)
        memory = found.data()
    except (HydraError, KeyError):
        pass  # a bundle of a runtime without a formula
    ui.blank()
    ui.line(f"Bundle: {made}   ({megabytes(bundle.size_bytes)}, in {clock(seconds)})")
    following = [f"hydra-mobile verify {made}"]
    if TARGETS[target].has_app:
        following.append(f"hydra-mobile app build --bundle {made}")
    following.append(f"hydra-mobile evaluate {model} {made}")
    return ui.Result(
        {
            "path": made,
            "target": target,
            "runtime": bundle.runtime,
            "preset": bundle.preset.name,
            "size_bytes": bundle.size_bytes,
            **memory,
        },
        brief=str(made),
        next=following,
    )


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        export,
        panel=panel,
        brief=True,
        examples=[
            "hydra-mobile export runs/emojiqa",
            "hydra-mobile export runs/emojiqa --target ios",
            "hydra-mobile export runs/emojiqa --runtime onnx --preset int8 --out b8",
        ],
        more="docs/export.md",
    )
