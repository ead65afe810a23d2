"""This machine: each runtime's own Python package, or the C++ runner."""

from __future__ import annotations

import platform

import psutil

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.devices.device import Device, Listed, Placed
from hydra_mobile.devices.facts import DeviceFacts
from hydra_mobile.devices.native_build import X86_64, build_state, host, native_runner


class HostDevice(Device):
    """Where everything runs unless another device is named."""

    name = "host"
    title = "this machine"
    summary = "this machine, each runtime in Python"
    moves_bundles = False

    def listed(self, bundle: Bundle | None) -> list[Listed]:
        """Return nothing: `native` lists this machine."""
        return []


class NativeDevice(Device):
    """The C++ runner on this machine."""

    name = "native"
    title = "C++ runner on this machine"
    summary = "this machine, in C++ without torch"
    formats = ("executorch",)
    runtime = "hydra_mobile.runtimes.native:NativeRuntime"

    def command(self) -> list[str]:
        """Return the command that starts the runner; builds what is missing.

        Raises:
            HydraError: it cannot be built here; names the packages that are missing.
        """
        return [str(native_runner(host()))]

    def place(self) -> Placed:
        """Build the runner, here and not in several processes at once."""
        self.command()
        return Placed("native runner")

    def listed(self, bundle: Bundle | None) -> list[Listed]:
        """Return this machine."""
        return [Listed(self.option, build_state(X86_64), _this_machine()).judged(bundle)]


def _this_machine() -> DeviceFacts:
    memory = psutil.virtual_memory()
    machine = platform.machine()
    return DeviceFacts(
        serial="this machine",
        abis=("arm64-v8a" if machine in ("aarch64", "arm64") else machine,),
        system=f"{platform.system()} {platform.release()}",
        memory_bytes=memory.total,
        available_bytes=memory.available,
        cores=psutil.cpu_count(),
    )
