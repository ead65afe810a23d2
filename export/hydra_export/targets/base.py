"""What a target is: how a merged model becomes program files for one runtime, and what they can do.

A target knows one runtime. It writes no manifest: `hydra_export.export` does that around the files
that it returns. To add a runtime, write one file with a `Target` and name it under a platform in
`hydra_export.targets`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, ClassVar

from hydra_mobile.bundle.interface import Limits, Log, TargetResult
from hydra_mobile.bundle.memory.footprint import Footprint, RuntimeMemory, footprint_of
from hydra_mobile.bundle.memory.phones import facts
from hydra_mobile.bundle.presets import PRESETS, Preset, preset_named
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.registry import nearest, require_packages
from hydra_mobile.runtimes import runtime_class

if TYPE_CHECKING:
    from hydra_export.quantization.calibration import Calibration
    from hydra_mobile.models.vision_language import VisionLanguageModel

AUTO = "auto"


@dataclass(frozen=True)
class Platform:
    """Where a program runs: what `--target` names.

    Attributes:
        title: what people call it.
        runtimes: runtime -> "module:Object" of its `Target`; the first is the default.
        requires: what bundles need of a machine, for the manifest: `abis` in Android's names, and
            `android_api`, the lowest level. Programs hold no machine code; these are what runtimes
            and app are built for.
        has_app: whether `hydra-mobile app build` makes an app that runs its bundles.
    """

    title: str
    runtimes: Mapping[str, str]
    requires: Mapping[str, Any] = field(default_factory=dict)
    has_app: bool = False

    @property
    def default_runtime(self) -> str:
        """The runtime that the platform gets when the user names none."""
        return next(iter(self.runtimes))


@dataclass(frozen=True)
class WriteOptions:
    """What a caller may ask of a target beside a preset; each needs the target's capability.

    Attributes:
        calibration: what 4-bit parts are measured and rounded on; None: the model's own text.
        adapters: make a base program: low-rank updates of the decoder and the projector's weights
            are inputs (`bundle.lora_file`).
        attention: one of the target's `attentions`, or "auto" for its own choice.
        vision_backend: one of the target's `vision_backends`, or "auto": none of them.
        model_key: hash of all that the model was loaded from, under which what takes long is kept
            for the next export; "": nothing is kept.
    """

    calibration: Calibration | None = None
    adapters: bool = False
    attention: str = AUTO
    vision_backend: str = AUTO
    model_key: str = ""


class Target(ABC):
    """Program files for one runtime.

    Importing the module of a target loads nothing heavy; `write` does.
    """

    #: Name in `hydra_mobile.runtimes.RUNTIMES` of what runs the files.
    runtime: ClassVar[str]
    #: Which of our extras brings `packages`, whose versions the manifest records.
    extra: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    presets: ClassVar[tuple[str, ...]] = tuple(PRESETS)
    default_preset: ClassVar[str] = "int4"
    #: Whether 4-bit weights are rounded on data (`WriteOptions.calibration`).
    calibrates: ClassVar[bool] = False
    #: Whether programs can take an adapter from a file (`WriteOptions.adapters`).
    takes_adapters: ClassVar[bool] = False
    #: Whether it widens matrices that are kept as stored (`hydra_export.graphs.stored`) itself,
    #: one at a time; else they are all float32 when it begins.
    reads_stored: ClassVar[bool] = False
    #: Ways to build the decoder's attention, where there are several (`WriteOptions.attention`).
    attentions: ClassVar[tuple[str, ...]] = ()
    #: Backends for which the vision encoder can be written a second time
    #: (`WriteOptions.vision_backend`).
    vision_backends: ClassVar[tuple[str, ...]] = ()
    #: How the runtime holds a program in memory; None: nothing is known.
    memory_facts: ClassVar[RuntimeMemory | None] = None
    #: What runs such a bundle, for the last lines of an export; empty: nothing is said.
    runs_in: ClassVar[str] = ""
    #: Whether other people's loaders want `tokenizer_config.json` beside `tokenizer.json`.
    wants_tokenizer_config: ClassVar[bool] = False
    #: About ten lines that run a bundle, with `$names` of `snippets`; empty: none are written.
    kotlin: ClassVar[str] = ""
    swift: ClassVar[str] = ""

    @property
    def title(self) -> str:
        """What people call the runtime."""
        return runtime_class(self.runtime).title

    def require(
        self,
        *,
        preset: str | None = None,
        calibrate: bool = False,
        adapters: bool = False,
        attention: str = AUTO,
        vision_backend: str = AUTO,
    ) -> None:
        """Check that this target can do what is asked, before work is spent on it.

        Raises:
            HydraError: it cannot, or an optional package is missing.
        """
        if preset is not None and preset not in self.presets:
            preset_named(preset)
            raise HydraError(
                f"Runtime `{self.runtime}` has no preset `{preset}`.", nearest(preset, self.presets)
            )
        if calibrate and not self.calibrates:
            raise HydraError(
                f"Runtime `{self.runtime}` has no weights that calibration would change.",
                "Leave out --calibrate.",
            )
        if adapters and not self.takes_adapters:
            raise HydraError(
                f"Runtime `{self.runtime}` has no programs that take an adapter from a file.",
                "Use --runtime onnx, or leave --adapter at merged.",
            )
        if attention != AUTO and attention not in self.attentions:
            raise HydraError(
                f"Runtime `{self.runtime}` has no attention `{attention}`.",
                nearest(attention, (AUTO, *self.attentions)),
            )
        if vision_backend != AUTO and vision_backend not in self.vision_backends:
            raise HydraError(
                f"Runtime `{self.runtime}` has no vision backend `{vision_backend}`.",
                nearest(vision_backend, (AUTO, *self.vision_backends)),
            )
        if vision_backend != AUTO and adapters:
            raise HydraError(
                "A second vision encoder holds the projector's weights, and a separate adapter "
                "brings its own.",
                "Leave out --vision-backend, or leave --adapter at merged.",
            )
        require_packages(self.packages, self.extra)

    def write(
        self,
        model: VisionLanguageModel,
        preset: Preset,
        folder: Path,
        limits: Limits,
        log: Log,
        options: WriteOptions | None = None,
    ) -> TargetResult:
        """Write program files of `model`.

        Args:
            model: merged, fp32 or as `hydra_export.load` leaves it, on the CPU, in eval mode; may
                be changed in place (quantized).
            preset: precision of each part.
            folder: existing folder.
            limits: cache length and longest call.
            log: gets one line for each step.
            options: None: none.

        Raises:
            HydraError: the target cannot do what is asked.
        """
        options = options or WriteOptions()
        self.require(
            calibrate=options.calibration is not None,
            adapters=options.adapters,
            attention=options.attention,
        )
        if not self.reads_stored:
            from hydra_export.graphs.stored import widen_all

            widen_all((model,))
        result = self._write(model, preset, folder, limits, log, options)
        return replace(result, versions={package: version(package) for package in self.packages})

    @abstractmethod
    def _write(
        self,
        model: VisionLanguageModel,
        preset: Preset,
        folder: Path,
        limits: Limits,
        log: Log,
        options: WriteOptions,
    ) -> TargetResult:
        """Do what `write` says; `options` asks for nothing that the target cannot do."""

    def coverage(
        self, folder: Path, result: TargetResult, limits: Limits
    ) -> dict[str, dict[str, Any]] | None:
        """Return how much of each method runs on fast kernels, as `bundle.kernel_coverage` has it.

        Args:
            folder: of the files.
            result: what `write` returned.
            limits: of the program.

        Returns:
            method -> its shares; None where the runtime chooses kernels on the phone.
        """
        return None

    def keeps_scores(self, manifest: Mapping[str, Any]) -> bool:
        """Whether attention writes all its scores to memory, instead of working block by block."""
        return True

    def memory(self, manifest: Mapping[str, Any]) -> Footprint:
        """Return how much memory running a bundle takes.

        Raises:
            ArtifactError: the manifest lacks a size, or nothing is known about the runtime.
        """
        if self.memory_facts is None:
            raise ArtifactError(f"The memory that runtime `{self.runtime}` needs is not known.")
        return footprint_of(manifest, self.memory_facts, keeps_scores=self.keeps_scores(manifest))

    @property
    def memory_basis(self) -> str:
        """How far `memory` can be trusted, for people."""
        return self.memory_facts.basis if self.memory_facts else "unknown"

    def footprint(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Return the manifest's key `footprint`."""
        return facts(self.memory(manifest), self.memory_basis)

    def snippets(self, manifest: Mapping[str, Any]) -> dict[str, str]:
        """Return language -> lines that run a bundle on a phone."""
        shapes = manifest["shapes"]
        roles = {str(entry["role"]): name for name, entry in manifest["files"].items()}
        values = {
            "program": roles.get("program", ""),
            "vision": roles.get("vision_encoder", ""),
            "table": roles.get("token_embedding", ""),
            "decoder": roles.get("text_decoder", ""),
            "image": shapes["image_size"],
            "hidden": shapes["hidden_size"],
            "layers": shapes["layers"],
            "kv_heads": shapes.get("kv_heads", ""),
            "head_dim": shapes.get("head_dim", ""),
            "vocabulary": shapes["vocab_size"],
            "context": manifest["limits"]["max_context"],
            "prefill": manifest["limits"]["max_prefill"],
            "stops": ", ".join(map(str, manifest["stop_ids"])),
        }
        texts = {"Kotlin": self.kotlin, "Swift": self.swift}
        return {name: Template(text).substitute(values) for name, text in texts.items() if text}
