"""`export`, `plan_export` and `add_adapter`: a model to a bundle, and one more adapter into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra_mobile.api.paths import ModelLike, default_bundle_folder, path_of
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import Limits
from hydra_mobile.bundle.kernel_coverage import MINIMUM
from hydra_mobile.bundle.presets import SELF, Preset
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.model_folder import hub_name_of, title_of
from hydra_mobile.core.progress import Log
from hydra_mobile.core.quiet import quietly
from hydra_mobile.core.registry import nearest

if TYPE_CHECKING:
    from hydra_export.separate_adapter import SeparateAdapter
    from hydra_export.training_data import TrainingData
    from hydra_mobile.estimation.cost import Cost
    from hydra_mobile.runtimes.model_ref import ModelRef

AdapterForm = Literal["merged", "separate"]
_ADAPTER_FORMS = ("merged", "separate")


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
    threads: int = 0,
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
        calibrate: data of the task, in any form, to round 4-bit weights on; "self": text that the
            model writes; None: the run's training data where they still exist, else "self".
            Programs with a separate adapter are rounded on "self" unless data are given.
        images: folder of the images of `calibrate`.
        adapter: "merged" into the weights, or "separate": a program of the base and the adapter
            in a file that can be swapped.
        name: of a separate adapter in the bundle.
        threads: CPU threads of torch in this process from now on; 0 leaves them as they are.
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
    # Typing mistakes are reported before minutes are spent on merging.
    work = plan_export(
        model,
        target,
        runtime=runtime,
        preset=preset,
        out=out,
        calibrate=calibrate,
        images=images,
        adapter=adapter,
        attention=attention,
        vision_backend=vision_backend,
        max_context=max_context,
        max_prefill=max_prefill,
    )
    return work.run(
        golden=golden,
        name=name,
        threads=threads,
        min_fast_path=min_fast_path,
        log=log,
    )


@dataclass(frozen=True)
class ExportWork:
    """An export that has not begun.

    Attributes:
        model: what is exported.
        target: of the bundle.
        runtime: of the bundle.
        preset: of the bundle.
        limits: of the bundle.
        out: its folder.
        calibrate: data that 4-bit weights are rounded on; None: text that the model writes, or no
            weight is rounded on anything.
        adapter: see `export`.
        attention: see `export`.
        vision_backend: see `export`.
        key: of work of this kind, see `estimation.kinds`.
        cost: time and memory of the last export of the same kind on this machine; the disk that it
            takes at most.
    """

    model: ModelRef
    target: str
    runtime: str
    preset: Preset
    limits: Limits
    out: Path
    calibrate: TrainingData | None
    adapter: AdapterForm
    attention: str
    vision_backend: str
    key: str
    cost: Cost

    def run(
        self,
        *,
        golden: str | Path | None = None,
        name: str = "default",
        threads: int = 0,
        min_fast_path: float = MINIMUM,
        force: bool = False,
        log: Log = print,
    ) -> Bundle:
        """Export; arguments and errors are those of `export`.

        With `force` an older bundle for another runtime is replaced too.
        """
        with quietly():
            from hydra_export.export import export_bundle
            from hydra_export.golden_samples import golden_inputs
            from hydra_export.merge import merged_folder
            from hydra_mobile.estimation.measured import measuring

            if threads:
                import torch

                torch.set_num_threads(threads)
            inputs = golden_inputs(self.model.path, Path(golden) if golden else None)
            separate = _separate(self.model, name) if self.adapter == "separate" else None
            with measuring(self.key):
                return export_bundle(
                    separate.base if separate else merged_folder(self.model, log),
                    target=self.target,
                    runtime=self.runtime,
                    preset=self.preset,
                    out=self.out,
                    golden_inputs=inputs,
                    limits=self.limits,
                    calibrate=self.calibrate,
                    separate=separate,
                    attention=self.attention,
                    vision_backend=self.vision_backend,
                    min_fast_path=min_fast_path,
                    force=force,
                    log=log,
                )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "model": str(self.model.path),
            "kind": self.model.kind,
            "target": self.target,
            "runtime": self.runtime,
            "preset": self.preset.name,
            "calibrate": str(self.calibrate.file) if self.calibrate else "",
            "max_context": self.limits.max_context,
            "max_prefill": self.limits.max_prefill,
            "out": str(self.out),
            "cost": self.cost.to_dict(),
        }


def plan_export(
    model: ModelLike,
    target: str = "android",
    *,
    runtime: str | None = None,
    preset: str | Preset | None = None,
    out: str | Path | None = None,
    calibrate: str | Path | None = None,
    images: str | Path | None = None,
    adapter: AdapterForm = "merged",
    attention: str = "auto",
    vision_backend: str = "auto",
    max_context: int = 512,
    max_prefill: int = 256,
) -> ExportWork:
    """Return what `export` would make and what it would cost; arguments are those of `export`.

    Raises:
        HydraError: unknown target, runtime or preset, or a combination that does not exist.
        ArtifactError: there is no such model.
    """
    with quietly():
        from hydra_export.export import most_bytes
        from hydra_export.targets import writer_for
        from hydra_export.training_data import TrainingData, of_run
        from hydra_mobile.core.model_folder import weight_files
        from hydra_mobile.estimation.cost import cost_of
        from hydra_mobile.estimation.kinds import export_key
        from hydra_mobile.runtimes.model_ref import base_of, model_at

        if adapter not in _ADAPTER_FORMS:
            raise HydraError(f"adapter is `{adapter}`.", nearest(adapter, _ADAPTER_FORMS))
        writer, chosen = writer_for(
            target,
            runtime,
            preset,
            calibrate=calibrate is not None and str(calibrate) != SELF,
            adapters=adapter == "separate",
            attention=attention,
            vision_backend=vision_backend,
        )
        artifact = model_at(path_of(model))
        if adapter == "separate":
            # Adapters that no program takes are told before the base is opened.
            _separate(artifact, "default")
        if out is None:
            out = default_bundle_folder(artifact.path, target, writer.runtime, chosen.name)
        rounds = writer.calibrates and chosen.has_4bit_weights and chosen.rounding != "nearest"
        data = None
        if calibrate is not None:
            if str(calibrate) != SELF:
                data = TrainingData(Path(calibrate), Path(images) if images else None)
        elif rounds and adapter == "merged" and _trained_for(artifact.path) != chosen.name:
            data = of_run(artifact.path)
        limits = Limits(max_context, max_prefill)
        details = (
            adapter,
            attention,
            vision_backend,
            f"rounded on {data.file}" if data else "",
        )
        key = export_key(artifact, target, writer.runtime, chosen.name, limits, details)
        whole = base_of(artifact.path) if artifact.kind == "run" else artifact.path
        weights = weight_files(whole) if artifact.kind != "bundle" else []
        cost = cost_of(key, 1, Path(out), most_bytes(weights) if weights else None)
        return ExportWork(
            artifact,
            target,
            writer.runtime,
            chosen,
            limits,
            Path(out),
            data,
            adapter,
            attention,
            vision_backend,
            key,
            cost,
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
    adapter = adapter_in(artifact.path)
    if trained_for := _trained_for(artifact.path):
        raise HydraError(
            f"The adapter was trained for {trained_for}: its base and itself were rounded together",
            "--adapter merged",
            where=str(adapter),
            found=f"trained_for {trained_for}, and --adapter separate, which rounds the base alone",
        )
    return SeparateAdapter(base_of(artifact.path), adapter, name)


def _trained_for(folder: Path) -> str:
    """Return the preset whose rounding the training of a run or merged folder has seen; "": none.

    Raises:
        ArtifactError: the record of the adapter or of the merge cannot be read.
    """
    from hydra_mobile.adapters.folder_files import HYDRA_FILE
    from hydra_mobile.core.files import read_json
    from hydra_mobile.core.model_folder import MERGE_FILE
    from hydra_mobile.runtimes.model_ref import adapter_in

    for record in (adapter_in(folder) / HYDRA_FILE, folder / MERGE_FILE):
        if record.is_file():
            return str(read_json(record, "a record of training").get("trained_for", ""))
    return ""


def add_adapter(
    bundle: ModelLike,
    run: ModelLike,
    name: str = "",
    *,
    base: str | Path = "",
    log: Log = print,
) -> Bundle:
    """Add an adapter of the same base to a bundle; its program stays as it is.

    Args:
        bundle: made by `export` with `adapter="separate"`.
        run: a run or an adapter folder.
        name: `BUNDLE#NAME` selects it; "": the run's.
        base: name or folder of the base; "": the run's own.
        log: receives a line for each step.

    Returns:
        The bundle, opened with that adapter.

    Raises:
        ArtifactError: the bundle has no separate adapters, or the adapter is of another base,
            template or preprocessing.
    """
    with quietly():
        from hydra_export.separate_adapter import add_adapter as add
        from hydra_mobile.models.registry import base_folder
        from hydra_mobile.runtimes.model_ref import adapter_in, base_of

        folder, source = Path(path_of(bundle, log)), Path(path_of(run, log))
        if hub_name := hub_name_of(folder):
            raise ArtifactError(
                f"{hub_name} is in the hub's cache, which is not written to.",
                "Copy the folder, and add the adapter to the copy.",
                where=str(folder),
            )
        called = name or title_of(source)
        of = base_folder(str(base), log) if base else base_of(source)
        add(folder, of, adapter_in(source), called, log)
        return Bundle.open(Path(f"{folder}#{called}"))
