"""Export targets: where a program runs, and on which runtime, by name.

A new runtime is one file with a `Target` and one line here, under each platform that has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from hydra_export.targets.base import AUTO, Platform, Target, WriteOptions
from hydra_mobile.bundle.interface import Limits, TargetResult
from hydra_mobile.bundle.presets import Preset, preset_named
from hydra_mobile.core.errors import ArtifactError, ConfigError, HydraError
from hydra_mobile.core.registry import nearest, resolve

__all__ = [
    "TARGETS",
    "Limits",
    "Platform",
    "Target",
    "TargetResult",
    "WriteOptions",
    "target_for",
    "target_of",
    "writer_for",
]

_EXECUTORCH = "hydra_export.targets.executorch.target:ExecuTorchTarget"
_ONNX = "hydra_export.targets.onnx.target:OnnxTarget"
_COREML = "hydra_export.targets.coreml.target:CoreMLTarget"

TARGETS: dict[str, Platform] = {
    "android": Platform(
        "Android",
        {"executorch": _EXECUTORCH, "onnx": _ONNX},
        requires={"abis": ["arm64-v8a", "x86_64"], "android_api": 26},
        has_app=True,
    ),
    "ios": Platform("iOS", {"coreml": _COREML, "executorch": _EXECUTORCH}),
    "onnx": Platform("anything with onnxruntime", {"onnx": _ONNX}),
}


def target_for(target: str, runtime: str | None = None) -> Target:
    """Return what writes programs for a platform.

    Args:
        target: for example "android".
        runtime: for example "onnx"; None takes the platform's default.

    Raises:
        HydraError: unknown target or runtime; the message lists the valid ones.
    """
    if target not in TARGETS:
        raise HydraError(f"Unknown target `{target}`.", nearest(target, TARGETS))
    platform = TARGETS[target]
    chosen = runtime or platform.default_runtime
    if chosen in _runtimes() and chosen not in platform.runtimes:
        raise ConfigError(
            f"target {target} does not run on {chosen}",
            f"--runtime {platform.default_runtime}",
            where="--runtime",
            found=chosen,
            expected=", ".join(platform.runtimes),
        )
    return cast("type[Target]", resolve(f"runtime of {target}", chosen, platform.runtimes))()


def writer_for(
    target: str,
    runtime: str | None = None,
    preset: str | Preset | None = None,
    *,
    calibrate: bool = False,
    adapters: bool = False,
    attention: str = AUTO,
    vision_backend: str = AUTO,
) -> tuple[Target, Preset]:
    """Return what writes a program, and its preset, once it is known that they go together.

    Args:
        target: for example "android".
        runtime: for example "onnx"; None takes the platform's default.
        preset: a name, or a preset of the caller's own; None takes the target's default.
        calibrate: whether 4-bit weights are to be rounded on data of the task.
        adapters: whether the adapter is to stay a file of its own.
        attention: one of the target's `attentions`.
        vision_backend: one of the target's `vision_backends`.

    Raises:
        HydraError: unknown target, runtime or preset; the target cannot do what is asked; an
            optional package is missing.
    """
    writer = target_for(target, runtime)
    preset = writer.default_preset if preset is None else preset
    writer.require(
        preset=preset if isinstance(preset, str) else None,
        calibrate=calibrate,
        adapters=adapters,
        attention=attention,
        vision_backend=vision_backend,
    )
    return writer, preset_named(preset) if isinstance(preset, str) else preset


def target_of(manifest: Mapping[str, Any]) -> Target:
    """Return what wrote a bundle.

    Args:
        manifest: of the bundle.

    Raises:
        ArtifactError: no target of this version writes programs for its runtime.
    """
    runtime = str(manifest["runtime"])
    for name, platform in TARGETS.items():
        if runtime in platform.runtimes:
            return target_for(name, runtime)
    raise ArtifactError(
        f"Nothing is known about bundles for the runtime `{runtime}`.",
        nearest(runtime, _runtimes()),
    )


def _runtimes() -> set[str]:
    """Return the runtimes of all platforms."""
    return {name for platform in TARGETS.values() for name in platform.runtimes}
