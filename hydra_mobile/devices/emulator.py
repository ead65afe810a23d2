"""The arm64 emulator: how a runner for arm64 Linux is started on an x86-64 machine.

qemu's user mode translates one program; there is no second system, no root and no image. What it
proves is the arm64 program's answers. Its timings and memory say nothing about a phone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hydra_mobile.core.errors import HydraError

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
