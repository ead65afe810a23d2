"""Runtimes: one file for each, by name.

A new place to run is one file with a `Runtime` and one line here: a `ModelRef` that names it is
answered in processes of its own, resumed, sharded, timed and reported like all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hydra_mobile.core.registry import resolve

if TYPE_CHECKING:
    from hydra_mobile.runtimes.base import Runtime

RUNTIMES = {
    "torch": "hydra_mobile.runtimes.torch:TorchRuntime",
    "executorch": "hydra_mobile.runtimes.executorch:ExecuTorchRuntime",
    "onnx": "hydra_mobile.runtimes.onnx:OnnxRuntime",
    "coreml": "hydra_mobile.runtimes.coreml.runtime:CoreMLRuntime",
    "native": "hydra_mobile.runtimes.native:NativeRuntime",
    "emulator": "hydra_mobile.runtimes.native:EmulatorRuntime",
}


def runtime_class(name: str) -> type[Runtime]:
    """Return the runtime registered under `name`.

    Its optional packages need not be installed; `load` says which are missing.

    Raises:
        HydraError: unknown name.
    """
    return cast("type[Runtime]", resolve("runtime", name, RUNTIMES))
