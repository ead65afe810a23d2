"""Target CoreML: three `.mlpackage` folders for iPhones and Macs, made on any machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydra_export.targets.base import Target, WriteOptions
from hydra_export.targets.coreml.snippets import SWIFT
from hydra_mobile.bundle.interface import Limits, Log, TargetResult
from hydra_mobile.bundle.memory.footprint import RuntimeMemory
from hydra_mobile.bundle.presets import Preset

if TYPE_CHECKING:
    from hydra_mobile.models.vision_language import VisionLanguageModel


class CoreMLTarget(Target):
    """`vision_encoder`, `token_embedding` and `text_decoder`, each an `.mlpackage`."""

    runtime = "coreml"
    extra = "coreml"
    packages = ("coremltools", "torch", "transformers")
    # Programs for iOS 16 hold no 4-bit weights: int4 would be 8 bits under a false name.
    presets = ("fp32", "fp16", "int8")
    default_preset = "int8"
    # The runtime runs on Apple's systems only: weights count once, as they lie in the package,
    # attention keeps its scores, and what the runtime itself takes is left out.
    memory_facts = RuntimeMemory(
        "computed, never measured; the runtime's own memory is left out", own_bytes=0
    )
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
        from hydra_export.targets.coreml.program import write_program

        return write_program(model, preset, folder, limits, log)
