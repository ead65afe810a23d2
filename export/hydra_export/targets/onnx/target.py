"""Target ONNX: three graphs under the names that transformers.js and phone apps read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_export.targets.base import Target, WriteOptions
from hydra_export.targets.onnx.snippets import KOTLIN, SWIFT
from hydra_mobile.bundle.interface import METHODS, Limits, Log, TargetResult
from hydra_mobile.bundle.memory.footprint import MIB, RuntimeMemory
from hydra_mobile.bundle.presets import Preset

if TYPE_CHECKING:
    from hydra_mobile.models.vision_language import VisionLanguageModel


class OnnxTarget(Target):
    """`vision_encoder.onnx`, `embed_tokens.onnx` and `decoder_model_merged.onnx`."""

    runtime = "onnx"
    extra = "onnx"
    packages = ("onnx", "onnxruntime", "onnxscript", "torch", "transformers")
    calibrates = True
    reads_stored = True
    takes_adapters = True
    #: npu: a second encoder of static shapes, quantized as QDQ.
    vision_backends = ("npu",)
    # Measured with `experiments/memory/footprint.py`. The runtime reads weights tensor by tensor
    # out of the file into memory of its own. 4-bit weights grow when they are packed: every block
    # gets a sum beside its scale. Holes are what glibc cannot give back of the originals.
    memory_facts = RuntimeMemory(
        "measured on Linux within 15%",
        own_bytes=14 * MIB,
        packed_4bit=1.15,
        holes={"w4a8": 0.6, "": 0.37},
    )
    kotlin = KOTLIN
    swift = SWIFT

    def _write(
        self,
        model: VisionLanguageModel,
        preset: Preset,
        folder: Path,
        limits: Limits,
        log: Log,
        options: WriteOptions,
    ) -> TargetResult:
        from hydra_export.targets.onnx.program import write_program

        return write_program(
            model,
            preset,
            folder,
            limits,
            log,
            calibration=options.calibration,
            model_key=options.model_key,
            adapters=options.adapters,
            vision_backend=options.vision_backend,
        )

    def coverage(
        self, folder: Path, result: TargetResult, limits: Limits
    ) -> dict[str, dict[str, Any]] | None:
        """Return the shares of each graph, counted as it stands in its file."""
        from hydra_export.targets.onnx.kernel_coverage import summarize

        return {
            method: summarize(folder / result.files[method], limits.max_context)
            for method in METHODS
        }
