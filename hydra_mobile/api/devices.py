"""Where bundles run outside of this process: listed, and set up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.api.paths import ModelLike, path_of
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.progress import Log, silent
from hydra_mobile.devices import emulator
from hydra_mobile.devices.android import runner
from hydra_mobile.devices.device import Listed
from hydra_mobile.devices.listing import places
from hydra_mobile.devices.native_build import (
    ARM64,
    X86_64,
    Machine,
    android_runner,
    missing_packages,
    native_runner,
)

__all__ = ["Listed", "Runners", "list_devices", "set_up_devices"]


def list_devices(bundle: ModelLike | None = None) -> list[Listed]:
    """Return every place where bundles run, its state, and whether a bundle fits there.

    Nothing is built or copied for it.

    Raises:
        ArtifactError: the bundle is incomplete.
    """
    opened = Bundle.open(Path(path_of(bundle)), verify_hashes=False) if bundle else None
    return places(opened)


@dataclass(frozen=True)
class Runners:
    """The native runners that are built.

    Attributes:
        programs: machine -> its program.
        missing: names of Debian packages without which others cannot be built.
        emulator: what the emulator is good for.
    """

    programs: dict[str, Path]
    missing: tuple[str, ...]
    emulator: str


def set_up_devices(*, android: bool = False, log: Log = silent) -> Runners:
    """Build the native runners for this machine, for emulated arm64 and, if asked, for Android.

    Args:
        android: for Android arm64-v8a too: a pinned compiler and ExecuTorch, about 120 MB once.
        log: receives a line before each build.

    Raises:
        HydraError: this machine is not x86-64 Linux, a build failed, or a download did.
    """
    programs: dict[str, Path] = {}
    lacking = [*missing_packages(X86_64), *missing_packages(ARM64), *emulator.missing_packages()]
    machines: tuple[Machine, ...] = (X86_64, ARM64)
    for machine in machines:
        if not missing_packages(machine):
            programs[machine.name] = native_runner(machine, log)
    if android:
        lacking += runner.missing_packages()
        if not runner.missing_packages():
            programs[f"Android {runner.ABI}"] = android_runner(log)
    return Runners(programs, tuple(dict.fromkeys(lacking)), emulator.EXECUTION)
