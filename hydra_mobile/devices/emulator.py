"""The arm64 emulator: how a runner for arm64 Linux is started on an x86-64 machine.

qemu's user mode translates one program; there is no second system, no root and no image. What it
proves is the arm64 program's answers. Its timings and memory say nothing about a phone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.devices.device import Device, Listed, Placed
from hydra_mobile.devices.native_build import ARM64, build_state, native_runner

#: What a report says about numbers from here.
EXECUTION = "emulated arm64: parity yes, timings no"
#: The processor that qemu plays. With its default, "max", qemu 7.2 computes wrong numbers in
#: quantized programs, and says nothing.
CPU = "cortex-a76"
#: Where Debian's cross compiler keeps arm64's C library.
SYSTEM_ROOT = Path("/usr/aarch64-linux-gnu")

_NAMES = ("qemu-aarch64-static", "qemu-aarch64")


def missing_packages() -> list[str]:
    """Return names of Debian packages without which nothing can be emulated."""
    missing = [] if _qemu() else ["qemu-user-static"]
    loader = SYSTEM_ROOT / "lib" / "ld-linux-aarch64.so.1"
    return missing if loader.exists() else [*missing, "g++-aarch64-linux-gnu"]


def emulated(program: Path) -> list[str]:
    """Return the command that runs an arm64 program.

    Raises:
        HydraError: the emulator or arm64's C library is not installed.
    """
    if missing := missing_packages():
        raise HydraError(
            f"No arm64 program can be emulated: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing.",
            f"On Debian: apt-get install {' '.join(missing)}",
        )
    return [str(_qemu()), "-cpu", CPU, "-L", str(SYSTEM_ROOT), str(program)]


def _qemu() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class EmulatorDevice(Device):
    """The C++ runner for arm64 under qemu."""

    name = "emulator"
    title = "emulated arm64"
    summary = "emulated arm64, in C++: parity, no timings"
    formats = ("executorch",)
    runtime = "hydra_mobile.runtimes.native:EmulatorRuntime"
    untimed = "An emulator's timings say nothing about any machine."

    def command(self) -> list[str]:
        """Return the command that starts the arm64 runner; builds what is missing.

        Raises:
            HydraError: compiler, emulator or wheel are missing; names the packages.
        """
        return emulated(native_runner(ARM64))

    def place(self) -> Placed:
        """Build the runner, here and not in several processes at once."""
        self.command()
        return Placed(EXECUTION)

    def listed(self, bundle: Bundle | None) -> list[Listed]:
        """Return the emulator; its memory and processor are this machine's."""
        if missing := missing_packages():
            return [Listed(self.option, f"needs: {', '.join(missing)}")]
        state = build_state(ARM64)
        return [Listed(self.option, f"ready ({EXECUTION})" if state == "ready" else state)]
