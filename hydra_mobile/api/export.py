"""`merge`, `export` and `verify`: a run to a Hugging Face folder, to a bundle, and the proof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hydra_mobile.api.paths import ModelLike, default_bundle_folder, path_of
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import Limits
from hydra_mobile.bundle.kernel_coverage import MINIMUM
from hydra_mobile.bundle.presets import Preset, preset_named
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.progress import Log
from hydra_mobile.core.quiet import quietly
from hydra_mobile.core.registry import nearest
from hydra_mobile.parity.suite import ParityResult

if TYPE_CHECKING:
    from hydra_export.separate_adapter import SeparateAdapter
    from hydra_mobile.parity.task_score import TaskSubset
    from hydra_mobile.runtimes.model_ref import ModelRef

AdapterForm = Literal["merged", "separate"]
_ADAPTER_FORMS = ("merged", "separate")


def merge(
    run: ModelLike,
    out: str | Path | None = None,
    *,
    base: str | Path = "",
    log: Log = print,
) -> Path:
    """Fold a run's adapter into its base: one Hugging Face folder with every trained tensor.

    Args:
        run: a run or an adapter folder.
        out: the folder to write or replace; None: `merged` inside the run, which is left alone
            where it is of the same adapter already.
        base: name or folder of the base; "": the run's own.
        log: receives a line for each step.

    Returns:
        The folder, for `from_pretrained` of transformers and for `export`.

    Raises:
        ArtifactError: the adapter belongs to another base, or a file is incomplete.
    """
    with quietly():
        from hydra_export.merge import merge as merge_adapter
        from hydra_export.merge import merged_folder
        from hydra_mobile.models.registry import base_folder
        from hydra_mobile.runtimes.model_ref import base_of, model_at

        folder = Path(path_of(run))
        if out is None and not base:
            return merged_folder(model_at(str(folder)), log)
        out = Path(out) if out is not None else folder / "merged"
        of = base_folder(str(base), log) if base else base_of(folder)
        merge_adapter(of, folder, out, log=log)
        return out


def export(
    model: ModelLike,
    target: str = "android",
    *,
    runtime: str | None = None,
    preset: str | Preset | None = None,
    out: str | Path | None = None,
    golden: str | Path | None = None,
    calibrate: str | Path | None = None,
    images: str | Path | None = None,
    adapter: AdapterForm = "merged",
    name: str = "default",
    attention: str = "auto",
    vision_backend: str = "auto",
    min_fast_path: float = MINIMUM,
    max_context: int = 512,
    max_prefill: int = 256,
    log: Log = print,
) -> Bundle:
    """Export a trained model to a bundle: program, tokenizer, template and golden vectors.

    Args:
        model: a run (merged first), a merged folder or a base.
        target: where it will run: "android", "ios" or "onnx".
        runtime: "executorch", "onnx" or "coreml"; None: the target's own.
        preset: "fp32", "fp16", "int8", "int4", or a preset of your own; None: the target's
            default.
        out: the bundle's folder; None: `RUN/bundles/TARGET-RUNTIME-PRESET`.
        golden: LLaVA json to take the golden questions from; None: the run's training data, else
            drawn pictures.
        calibrate: LLaVA json of the task to round 4-bit weights on; None: text that the model
            writes itself.
        images: folder of the images of `calibrate`.
        adapter: "merged" into the weights, or "separate": a program of the base and the adapter
            in a file that can be swapped.
        name: of a separate adapter in the bundle.
        attention: of ExecuTorch: "custom", "manual", or "auto".
        vision_backend: write the vision encoder a second time: "vulkan" (executorch) for GPUs,
            "npu" (onnx); "auto": do not. Neither has been executed on such hardware.
        min_fast_path: minimum share of multiply-accumulates that must run on fast kernels.
        max_context: tokens that the cache holds.
        max_prefill: maximum tokens of one decoder call.
        log: receives a line for each step.

    Raises:
        HydraError: unknown target, runtime or preset; a missing extra; no space; `out` is another
            kind of folder; too little of the program runs on fast kernels.
        DataError: `golden`, `calibrate` or an image that they name cannot be read.
        ArtifactError: the model is incomplete, altered, or a bundle already.
    """
    with quietly():
        from hydra_export.export import export_bundle
        from hydra_export.golden_samples import golden_inputs
        from hydra_export.merge import merged_folder
        from hydra_export.targets import target_for
        from hydra_mobile.runtimes.model_ref import model_at

        # Typing mistakes are reported before minutes are spent on merging.
        if adapter not in _ADAPTER_FORMS:
            raise HydraError(f"adapter is `{adapter}`.", nearest(adapter, _ADAPTER_FORMS))
        writer = target_for(target, runtime)
        writer.require(
            preset=preset if isinstance(preset, str) else None,
            calibrate=calibrate is not None,
            adapters=adapter == "separate",
            attention=attention,
            vision_backend=vision_backend,
        )
        preset = preset or writer.default_preset
        chosen = preset_named(preset) if isinstance(preset, str) else preset
        artifact = model_at(path_of(model))
        inputs = golden_inputs(artifact.path, Path(golden) if golden else None)
        separate = _separate(artifact, name) if adapter == "separate" else None
        if out is None:
            out = default_bundle_folder(artifact.path, target, writer.runtime, chosen.name)
        return export_bundle(
            separate.base if separate else merged_folder(artifact, log),
            target=target,
            runtime=writer.runtime,
            preset=chosen,
            out=Path(out),
            golden_inputs=inputs,
            limits=Limits(max_context, max_prefill),
            calibrate=Path(calibrate) if calibrate else None,
            images=Path(images) if images else None,
            separate=separate,
            attention=attention,
            vision_backend=vision_backend,
            min_fast_path=min_fast_path,
            log=log,
        )


def _separate(artifact: ModelRef, name: str) -> SeparateAdapter:
    """Return base and adapter of a run; a base or a merged folder is a base without one."""
    from hydra_export.separate_adapter import SeparateAdapter
    from hydra_mobile.runtimes.model_ref import adapter_in, base_of

    if artifact.kind == "bundle":
        raise ArtifactError(
            f"{artifact.path} is a bundle already.", "Export the run, or add its adapter to it."
        )
    if artifact.kind != "run":
        return SeparateAdapter(artifact.path, None, name)
    return SeparateAdapter(base_of(artifact.path), adapter_in(artifact.path), name)


def verify(
    bundle: ModelLike,
    *,
    run: ModelLike | None = None,
    merged: str | Path | None = None,
    program: ModelLike | None = None,
    benchmark: str = "emojiqa",
    data: str | Path | None = None,
    limit: int | None = 100,
    device: str = "host",
    log: Log = print,
) -> ParityResult:
    """Check that a bundle computes what the merged model computed.

    With `run` or `merged`, also that adapter, merged model and bundle compute the same.

    Args:
        bundle: a bundle (object or folder), or `BUNDLE#NAME` for another of its adapters.
        run: the run or adapter folder to compare with its merged model.
        merged: the merged folder that the bundle was exported from; None: that of the run.
        program: an fp32 bundle of the same model, to compare a quantized one with.
        benchmark: that `data` is of.
        data: its folder: every form answers a slice, and the change of the score is judged.
        limit: about how many questions of each split; None: all.
        device: "host", "native", "emulator" or "adb[:SERIAL]", where the bundle also runs.
        log: receives a line now and then.

    Returns:
        All comparisons; `require()` raises `ParityError` unless all of them hold.

    Raises:
        ArtifactError: a folder is incomplete, altered, or of another model.
        HydraError: what was given cannot be compared.
    """
    with quietly():
        from hydra_mobile.evaluation.workers.placement import runner_on
        from hydra_mobile.parity.suite import run_suite

        folder = Path(path_of(bundle))
        return run_suite(
            folder,
            adapter=Path(path_of(run)) if run is not None else None,
            merged=Path(merged) if merged is not None else None,
            program=Path(path_of(program)) if program is not None else None,
            device=runner_on(device, folder),
            questions=_subset(benchmark, Path(data), limit) if data is not None else None,
            log=log,
        )


def _subset(benchmark: str, data: Path, limit: int | None) -> TaskSubset:
    from hydra_mobile.benchmarks.base import Benchmark
    from hydra_mobile.parity.task_score import TaskSubset

    return TaskSubset(Benchmark.open(benchmark, data), limit)
