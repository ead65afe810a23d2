"""Target ExecuTorch: one program with three methods, for XNNPACK on a phone's CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template as Text
from typing import TYPE_CHECKING, Any

from hydra_export.targets.base import Target, WriteOptions
from hydra_export.targets.executorch.snippets import KOTLIN, RUNNERS, SWIFT
from hydra_mobile.bundle.interface import Limits, Log, TargetResult
from hydra_mobile.bundle.memory.footprint import MIB, RuntimeMemory
from hydra_mobile.bundle.presets import Preset
from hydra_mobile.core.json_text import dumps

if TYPE_CHECKING:
    from hydra_mobile.models.vision_language import VisionLanguageModel


class ExecuTorchTarget(Target):
    """`model.pte`."""

    runtime = "executorch"
    extra = "executorch"
    packages = ("executorch", "torch", "torchao", "transformers")
    calibrates = True
    reads_stored = True
    #: custom needs the `llama::` kernels in the app's runtime and decodes fastest; manual needs
    #: none of them. "auto" is custom.
    attentions = ("custom", "manual")
    #: vulkan: a second method with the encoder, one delegate for a phone's GPU.
    vision_backends = ("vulkan",)
    # Measured with `experiments/memory/footprint.py`. The runtime maps the program. XNNPACK packs
    # every linear's and convolution's weights into memory of its own when its delegate is loaded
    # and gives the mapped original back before the next. The embedding table is read where it is
    # mapped; it counts, because all of it is read ahead.
    memory_facts = RuntimeMemory("measured on Linux within 15%", own_bytes=8 * MIB)
    runs_in = (
        "the demo app (hydra-mobile app build), the C++ runner (--device native, emulator or adb), "
        "ExecuTorch's own LlmModule and MultimodalRunner"
    )
    wants_tokenizer_config = True
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
        from hydra_export.targets.executorch.program import write_program

        return write_program(
            model,
            preset,
            folder,
            limits,
            log,
            calibration=options.calibration,
            model_key=options.model_key,
            attention=options.attention,
            vision_backend=options.vision_backend,
        )

    def snippets(self, manifest: Mapping[str, Any]) -> dict[str, str]:
        """Return lines for ExecuTorch's own runner first, then for the methods by themselves."""
        template = manifest["template"]
        roles = {str(entry["role"]): name for name, entry in manifest["files"].items()}
        before = template["start"] + template["user_prefix"]
        after = template["user_suffix"] + template["answer_prefix"]
        values = {
            "program": roles.get("program", ""),
            "image": manifest["shapes"]["image_size"],
            # A string of JSON is one of Python, Kotlin and Swift, but for Kotlin's dollar signs.
            "before": dumps(before),
            "between": dumps(template["image_suffix"]),
            "after": dumps(after),
        }
        own = {name: Text(text).substitute(values) for name, text in RUNNERS.items()}
        methods = super().snippets(manifest)
        return {**own, **{f"{name}, method by method": text for name, text in methods.items()}}

    def coverage(
        self, folder: Path, result: TargetResult, limits: Limits
    ) -> dict[str, dict[str, Any]] | None:
        """Return the shares that were counted in the lowered graphs, before they were emitted."""
        shares: dict[str, dict[str, Any]] = result.details["delegation"]
        return shares

    def keeps_scores(self, manifest: Mapping[str, Any]) -> bool:
        """Whether attention was built of plain operators; custom_sdpa works block by block."""
        return bool(manifest["details"].get("attention") == "manual")
