"""`hydra-mobile export`: a trained model to a bundle for one target."""

from __future__ import annotations

from pathlib import Path

import typer


def export(
    model: Path = typer.Argument(..., help="Run (merged first) or merged folder."),
    target: str = typer.Option("android", help="Where it will run: android, ios or onnx."),
    runtime: str = typer.Option("", help="executorch, onnx or coreml; empty: the target's own."),
    preset: str = typer.Option("int4", help="Precision: fp32, fp16, int8 or int4."),
    out: Path = typer.Option(..., help="Bundle folder to make."),
    golden: Path = typer.Option(
        None,
        help="LLaVA json to take the golden questions from; default: the run's training data, "
        "else drawn pictures.",
    ),
    calibrate: Path = typer.Option(
        None,
        help="LLaVA json of the task to calibrate 4-bit weights on; default: text that the model "
        "writes itself.",
    ),
    images: Path = typer.Option(None, help="Folder of the pictures of --calibrate."),
    max_context: int = typer.Option(512, help="Tokens that the cache holds."),
    max_prefill: int = typer.Option(256, help="Most tokens of one decoder call."),
) -> None:
    """Export for a phone: program, tokenizer, template and golden vectors in one folder."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_export.export import export_bundle
    from hydra_export.presets import preset_named
    from hydra_export.targets import Limits, target_for
    from hydra_mobile.evaluation.artefacts import artefact_at, merged_folder
    from hydra_mobile.evaluation.golden_inputs import golden_inputs

    # Typing mistakes are told before minutes are spent on merging.
    target_for(target, runtime or None)
    preset_named(preset)
    artefact = artefact_at(str(model))
    inputs = golden_inputs(artefact.path, golden)
    export_bundle(
        merged_folder(artefact, say),
        target=target,
        runtime=runtime or None,
        preset=preset,
        out=out,
        golden_inputs=inputs,
        limits=Limits(max_context, max_prefill),
        calibrate=calibrate,
        images=images,
        log=say,
    )
    say(f"Check it with: hydra-mobile verify {out}")
