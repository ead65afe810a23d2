"""What is connected, and whether a bundle fits there: memory, processor, Android version."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any

import psutil

from hydra_mobile.bundle.bundle import REQUIRES, Bundle
from hydra_mobile.bundle.memory.footprint import footprint_of_manifest
from hydra_mobile.bundle.memory.phones import PROCESS_BYTES
from hydra_mobile.core.errors import HydraError
from hydra_mobile.devices import adb, emulator
from hydra_mobile.devices.facts import DeviceFacts, facts_of


@dataclass(frozen=True)
class Listed:
    """A place where bundles run.

    Attributes:
        option: what `--device` is given.
        state: "ready", or why it is not.
        facts: None where it cannot be asked.
        misfits: why a bundle does not fit; None where none was asked about.
        needed_bytes: the bundle's estimated peak, with an app around it on Android.
    """

    option: str
    state: str
    facts: DeviceFacts | None = None
    misfits: tuple[str, ...] | None = None
    needed_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**vars(self), "facts": self.facts.to_dict() if self.facts else None}


def places(bundle: Bundle | None) -> list[Listed]:
    """Return this machine, the emulator and all that adb knows, with the bundle's fit on each."""
    here = _this_machine()
    missing = emulator.missing_packages()
    listed = [
        _judged(Listed("native", "ready", here), bundle),
        Listed(
            "emulator",
            f"needs {', '.join(missing)}" if missing else f"ready ({emulator.EXECUTION})",
        ),
    ]
    try:
        phones = adb.devices()
    except HydraError as error:
        return [*listed, Listed("adb", error.what)]
    for serial, state in phones.items():
        option = f"adb:{serial}"
        if state != "device":
            listed.append(Listed(option, state))
            continue
        try:
            facts = facts_of(adb.AdbRemote(serial))
        except HydraError as error:
            listed.append(Listed(option, error.what))
            continue
        listed.append(_judged(Listed(option, "ready", facts), bundle))
    return listed


def misfits(bundle: Bundle, facts: DeviceFacts) -> tuple[tuple[str, ...], int]:
    """Return why a bundle does not fit on a device, and the bytes that it needs there."""
    # Bundles of earlier versions do not say; nothing has changed for them.
    requires: dict[str, Any] = bundle.manifest.get("requires", REQUIRES["android"])
    abis, api = tuple(requires["abis"]), int(requires["android_api"])
    needed = footprint_of_manifest(bundle.manifest).peak
    if facts.android:
        needed += PROCESS_BYTES
    found = []
    if not set(abis) & set(facts.abis):
        found.append(f"runs on {', '.join(abis)}; the device is {', '.join(facts.abis) or '?'}")
    if facts.api_level is not None and facts.api_level < api:
        found.append(f"needs Android API {api}; the device has {facts.api_level}")
    free = facts.available_bytes
    if free is not None and needed > free:
        found.append(f"needs about {needed / 1e6:.0f} MB; {free / 1e6:.0f} MB are available")
    return tuple(found), needed


def _judged(listed: Listed, bundle: Bundle | None) -> Listed:
    if bundle is None or listed.facts is None:
        return listed
    found, needed = misfits(bundle, listed.facts)
    return Listed(listed.option, listed.state, listed.facts, found, needed)


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
