"""ExecuTorch bundles in the native runner on a phone or board, called operation by operation.

For checking: each call crosses the cable, so nothing here is a timing. Questions by the hundred go
to a device as a batch: `hydra_mobile.evaluation.workers.device_process`.
"""

from __future__ import annotations

from typing import ClassVar, Self

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.devices.adb import chosen, shell_command
from hydra_mobile.devices.facts import facts_of
from hydra_mobile.devices.launch import install
from hydra_mobile.devices.native_process import NativeProcess
from hydra_mobile.runtimes.native import NativeRuntime


class AdbRuntime(NativeRuntime):
    """A bundle's program in a process of the native runner on a device."""

    name = "adb"
    title = "ExecuTorch over adb"
    summary = "ExecuTorch bundles in the native runner on a phone or board"
    timings_count: ClassVar[bool] = False
    execution = "native runner over adb"

    @classmethod
    def _load(cls, bundle: Bundle, threads: int) -> Self:
        """Push runner and bundle, as far as they are not there, and start it."""
        remote = chosen()
        installed = install(remote, bundle, facts_of(remote))
        arguments = f"{installed.command} --threads {threads} --serve"
        return cls(bundle, NativeProcess(shell_command(remote.serial, arguments)))
