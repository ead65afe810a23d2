"""Runners: one file for each runtime, by name.

Called by `hydra_mobile.evaluation` and by `hydra_mobile.parity.golden_replay`, which reads a runner's name from
a bundle's manifest. A new place to run is one file with a `Runner` and one line here: an `Artefact`
that names it is answered in processes of its own, resumed, sharded, timed and reported like all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hydra_mobile.core.registry import resolve

if TYPE_CHECKING:
    from hydra_mobile.runtimes.base import Runner

RUNNERS = {
    "torch": "hydra_mobile.runtimes.torch:TorchRunner",
    "executorch": "hydra_mobile.runtimes.executorch:ExecuTorchRunner",
    "onnx": "hydra_mobile.runtimes.onnx:OnnxRunner",
    "coreml": "hydra_mobile.runtimes.coreml.runtime:CoreMLRunner",
    "native": "hydra_mobile.runtimes.native:NativeRunner",
    "emulator": "hydra_mobile.runtimes.native:EmulatorRunner",
}


def runner_class(name: str) -> type[Runner]:
    """Return the runner registered under `name`.

    Raises:
        HydraError: unknown name, or an optional package is missing.
    """
    return cast("type[Runner]", resolve("runner", name, RUNNERS))
