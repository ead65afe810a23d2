"""ExecuTorch bundles in the native runner: C++ without torch, here or on an emulated arm64.

The same four operations as every runner, each a message to a process that holds the program. Python
keeps tokens, pictures and the greedy loop, so answers differ from the Python runtime's only where
the numbers do.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.devices.emulator import EXECUTION, emulated
from hydra_mobile.devices.native_build import ARM64, host, native_runner
from hydra_mobile.devices.native_process import NativeProcess
from hydra_mobile.runtimes.base import Array, CacheState, Runtime


class NativeRuntime(Runtime):
    """A bundle's program in a process of the native runner for this machine."""

    name = "native"
    #: What a report must say about this runner's numbers.
    execution: ClassVar[str] = "native runner"

    def __init__(self, bundle: Bundle, process: NativeProcess) -> None:
        self.bundle = bundle
        self.processor = bundle.processor()
        self.max_context = bundle.limits.max_context
        self.precision = bundle.preset.name
        #: Of the program, its first calls included; starting the process is left out.
        self.load_seconds = float(process.session["load_seconds"])
        self.threads = int(process.session["threads"])
        self._process = process
        self._hidden = bundle.shapes["hidden_size"]

    @classmethod
    def command(cls) -> list[str]:
        """Return the command that starts the runner, without its arguments; builds what is absent.

        Raises:
            HydraError: it cannot be built here; the message says which packages are missing.
        """
        return [str(native_runner(host()))]

    @classmethod
    def load(cls, path: Path, *, threads: int = 0) -> NativeRuntime:
        """Check the bundle at `path` and start a process with its program.

        Raises:
            ArtifactError: incomplete or altered bundle, one for another runtime, or a program
                that this runner cannot run: it must be exported with `--attention manual`.
            HydraError: the runner cannot be built here.
        """
        bundle = Bundle.open(Path(path))
        if bundle.runtime != "executorch":
            raise ArtifactError(
                f"{path} is a bundle for the runtime `{bundle.runtime}`, not `executorch`, which "
                "the native runner has."
            )
        arguments = ["--bundle", str(bundle.folder), "--threads", str(threads), "--serve"]
        return cls(bundle, NativeProcess([*cls.command(), *arguments]))

    def peak_memory(self) -> int:
        """Return the most resident bytes of the process with the program, not of this one."""
        return self._process.peak_memory_bytes

    def close(self) -> None:
        """End the process; the runner is of no use then."""
        self._process.close()

    def encode_image(self, pixels: Array) -> Array:
        """Map pixels float32 [1, 3, H, W] to image embeddings float32 [1, N, hidden]."""
        size = self.bundle.shapes["image_size"]
        if pixels.shape != (1, 3, size, size):
            raise HydraError(f"Pixels have shape {pixels.shape}, expected (1, 3, {size}, {size}).")
        return self._process.call("encode", pixels).reshape(1, -1, self._hidden)

    def embed(self, ids: list[int]) -> Array:
        """Map n token ids to embeddings float32 [1, n, hidden]."""
        if not ids:
            return np.zeros((1, 0, self._hidden), dtype=np.float32)
        return self._process.call("embed", ids=list(map(int, ids))).reshape(1, -1, self._hidden)

    def decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Append embeddings [1, n, hidden]; return the last logits [V] and the new state."""
        count = embeddings.shape[1]
        if embeddings.shape != (1, count, self._hidden) or count == 0:
            raise HydraError(
                f"Embeddings have shape {embeddings.shape}, expected (1, n > 0, {self._hidden})."
            )
        logits = self._process.call("decode", embeddings, position=state.length)
        return logits, CacheState(state.length + count)


class EmulatorRuntime(NativeRuntime):
    """The same on an emulated arm64 machine: its answers count, its timings do not."""

    name = "emulator"
    timings_count = False
    execution: ClassVar[str] = EXECUTION

    @classmethod
    def command(cls) -> list[str]:
        """Return the command that starts the arm64 runner in the emulator.

        Raises:
            HydraError: compiler, emulator or wheel are missing; the message says how to get them.
        """
        return emulated(native_runner(ARM64))
