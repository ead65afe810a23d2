"""ExecuTorch bundles in the native runner: C++ without torch, here or on an emulated arm64.

The same operations as every runtime's, each a message to a process that holds the program. Python
keeps tokens, pictures and the greedy loop, so answers differ from the Python runtime's only where
the numbers do.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.devices.emulator import EXECUTION, EmulatorDevice
from hydra_mobile.devices.host import NativeDevice
from hydra_mobile.devices.native_process import NativeProcess
from hydra_mobile.runtimes.base import Array, BundleRuntime, CacheState


class NativeRuntime(BundleRuntime):
    """A bundle's program in a process of the native runner for this machine."""

    name = "native"
    title = "ExecuTorch in C++"
    summary = "ExecuTorch bundles in the native runner, built for this machine"
    format = "executorch"
    in_process = False
    execution = "native runner"

    def __init__(self, bundle: Bundle, process: NativeProcess) -> None:
        super().__init__(bundle)
        self.threads = int(process.session["threads"])
        self._process = process

    @classmethod
    def command(cls) -> list[str]:
        """Return the command that starts the runner, without its arguments; builds what is absent.

        Raises:
            HydraError: it cannot be built here; the message says which packages are missing.
        """
        return NativeDevice().command()

    @classmethod
    def load(cls, model: Bundle | Path, *, threads: int = 0) -> Self:
        """Check a bundle and start a process with its program.

        Raises:
            ArtifactError: incomplete or altered bundle, one for another runtime, or a program
                with operators that this runner does not have.
            HydraError: the runner cannot be built here.
        """
        runtime = super().load(model, threads=threads)
        # Of the program, its first calls included; starting the process is left out.
        runtime.load_seconds = float(runtime._process.session["load_seconds"])
        return runtime

    @classmethod
    def _load(cls, bundle: Bundle, threads: int) -> Self:
        arguments = ["--bundle", str(bundle.folder), "--threads", str(threads), "--serve"]
        return cls(bundle, NativeProcess([*cls.command(), *arguments]))

    def peak_memory(self) -> int:
        """Return the most resident bytes of the process with the program, not of this one."""
        return self._process.peak_memory_bytes

    def close(self) -> None:
        """End the process; the runner is of no use then."""
        self._process.close()

    def _encode_image(self, pixels: Array) -> Array:
        return self._process.call("encode", pixels).reshape(1, -1, self.hidden_size)

    def _embed(self, ids: list[int]) -> Array:
        ids = list(map(int, ids))
        return self._process.call("embed", ids=ids).reshape(1, -1, self.hidden_size)

    def _decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        logits = self._process.call("decode", embeddings, position=state.length)
        return logits, CacheState(state.length + embeddings.shape[1])


class EmulatorRuntime(NativeRuntime):
    """The same on an emulated arm64 machine: its answers count, its timings do not."""

    name = "emulator"
    title = "ExecuTorch on emulated arm64"
    summary = "ExecuTorch bundles in the native runner on an emulated arm64 machine"
    timings_count: ClassVar[bool] = False
    execution = EXECUTION

    @classmethod
    def command(cls) -> list[str]:
        """Return the command that starts the arm64 runner in the emulator.

        Raises:
            HydraError: compiler, emulator or wheel are missing; the message says how to get them.
        """
        return EmulatorDevice().command()
