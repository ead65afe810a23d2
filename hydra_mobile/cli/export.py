"""`hydra-mobile export`: a trained model to a bundle for one target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from hydra_export.separate_adapter import SeparateAdapter
    from hydra_mobile.runtimes.model_ref import ModelRef

_ADAPTERS = ("merged", "separate")


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
    adapter: str = typer.Option(
        "merged",
        help="merged: into the weights. separate (onnx): a program of the base, and the adapter a "
        "file beside it that can be swapped; slower.",
    ),
    name: str = typer.Option("default", help="What a separate adapter is called in the bundle."),
    attention: str = typer.Option(
        "auto",
        help="executorch: custom decodes fastest and needs the llama operators in the app; manual "
        "needs none, and the native runner (--device) runs only that. auto: custom.",
    ),
    min_fast_path: float = typer.Option(
        0.95,
        min=0.0,
        max=1.0,
        help="Least share of each method's multiply-accumulates that must run on fast kernels.",
    ),
    max_context: int = typer.Option(512, help="Tokens that the cache holds."),
    max_prefill: int = typer.Option(256, help="Most tokens of one decoder call."),
) -> None:
    """Export for a phone: program, tokenizer, template and golden vectors in one folder."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_export.export import export_bundle
    from hydra_export.golden_samples import golden_inputs
    from hydra_export.merge import merged_folder
    from hydra_export.targets import Limits, target_for
    from hydra_mobile.core.errors import HydraError
    from hydra_mobile.core.registry import nearest
    from hydra_mobile.runtimes.model_ref import model_at

    # Typing mistakes are told before minutes are spent on merging.
    if adapter not in _ADAPTERS:
        raise HydraError(f"--adapter is `{adapter}`.", nearest(adapter, _ADAPTERS))
    target_for(target, runtime or None).require(
        preset=preset,
        calibrate=calibrate is not None,
        adapters=adapter == "separate",
        attention=attention,
    )
    artifact = model_at(str(model))
    inputs = golden_inputs(artifact.path, golden)
    separate = _separate(artifact, name) if adapter == "separate" else None
    export_bundle(
        separate.base if separate else merged_folder(artifact, say),
        target=target,
        runtime=runtime or None,
        preset=preset,
        out=out,
        golden_inputs=inputs,
        limits=Limits(max_context, max_prefill),
        calibrate=calibrate,
        images=images,
        separate=separate,
        attention=attention,
        min_fast_path=min_fast_path,
        log=say,
    )
    say(f"Check it with: hydra-mobile verify {out}")


def _separate(artifact: ModelRef, name: str) -> SeparateAdapter:
    """Return base and adapter of a run; a base or a merged folder is a base without one."""
    from hydra_export.separate_adapter import SeparateAdapter
    from hydra_mobile.core.errors import ArtifactError
    from hydra_mobile.runtimes.model_ref import adapter_in, base_of

    if artifact.kind == "bundle":
        raise ArtifactError(
            f"{artifact.path} is a bundle already.", "Export the run, or `export-adapter` to it."
        )
    if artifact.kind != "run":
        return SeparateAdapter(artifact.path, None, name)
    return SeparateAdapter(base_of(artifact.path), adapter_in(artifact.path), name)
