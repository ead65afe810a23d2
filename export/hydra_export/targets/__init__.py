"""Export targets: where a program runs, and on which runtime, by name.

A new target or runtime is one file with an `export` function (see `base.Target`) and one line here.
"""

from __future__ import annotations

from typing import cast

from hydra_mobile.bundle.interface import Limits, Target, TargetResult
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.registry import nearest, resolve

__all__ = ["DEFAULT_RUNTIME", "TARGETS", "Limits", "Target", "TargetResult", "target_for"]

TARGETS: dict[str, dict[str, str]] = {
    "android": {
        "executorch": "hydra_export.targets.executorch.target:export",
        "onnx": "hydra_export.targets.onnx.target:export",
    },
    "ios": {
        "coreml": "hydra_export.targets.coreml.target:export",
        "executorch": "hydra_export.targets.executorch.target:export",
    },
    "onnx": {"onnx": "hydra_export.targets.onnx.target:export"},
}

#: The runtime a target gets when the user names none.
DEFAULT_RUNTIME = {"android": "executorch", "ios": "coreml", "onnx": "onnx"}


def target_for(target: str, runtime: str | None = None) -> tuple[str, Target]:
    """Return the runtime's name and the export function of `target` on `runtime`.

    Args:
        target: for example "android".
        runtime: for example "onnx"; None takes the target's default.

    Raises:
        HydraError: unknown target or runtime (the message lists the valid ones), or an optional
            package is missing.
    """
    if target not in TARGETS:
        raise HydraError(f"Unknown target `{target}`.", nearest(target, TARGETS))
    chosen = runtime or DEFAULT_RUNTIME[target]
    return chosen, cast(Target, resolve(f"runtime of {target}", chosen, TARGETS[target]))
