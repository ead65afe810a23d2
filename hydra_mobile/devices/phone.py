"""Phones and boards over adb, with the native runner."""

from __future__ import annotations

import os

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.devices import adb
from hydra_mobile.devices.batch import RunnerLaunch
from hydra_mobile.devices.device import BatchDevice, BatchSession, Listed, Placed
from hydra_mobile.devices.facts import facts_of
from hydra_mobile.devices.launch import LAUNCHER_VARIABLE, install
from hydra_mobile.devices.remote import Remote
from hydra_mobile.devices.retry import Say, with_reconnect


class AdbDevice(BatchDevice):
    """The native runner on a phone or board."""

    name = "adb"
    title = "phone or board over adb"
    summary = "phone or board over adb, in C++"
    takes_serial = True
    formats = ("executorch",)
    runtime = "hydra_mobile.runtimes.adb:AdbRuntime"

    def place(self) -> Placed:
        """Choose the phone for this process and those that it starts."""
        name = chosen_phone(self.serial)
        emulated = ", emulated: no timings" if os.environ.get(LAUNCHER_VARIABLE) else ""
        return Placed(f"{name}{emulated}", f"{name}{emulated}")

    def session(
        self, bundle: Bundle, threads: int, say: Say, *, cold: bool = False
    ) -> BatchSession:
        """Push runner and bundle, as far as they are not there."""
        remote: Remote = adb.chosen()

        def put() -> BatchSession:
            installed = install(remote, bundle, facts_of(remote))
            command = f"{installed.command}{' --cold' if cold else ''}"
            launch = RunnerLaunch(remote, command, installed.digest, threads)
            return BatchSession(remote, launch, bundle, installed.emulated, cold)

        return with_reconnect(remote, put, say)

    def listed(self, bundle: Bundle | None) -> list[Listed]:
        """Return all phones that adb knows, ready or not."""
        try:
            phones = adb.devices()
        except HydraError as error:
            return [Listed(self.name, error.what)]
        return [self._one(serial, state, bundle) for serial, state in phones.items()]

    def _one(self, serial: str, state: str, bundle: Bundle | None) -> Listed:
        option = f"{self.name}:{serial}"
        if state != "device":
            return Listed(option, state)
        try:
            facts = facts_of(adb.AdbRemote(serial))
        except HydraError as error:
            return Listed(option, error.what)
        return Listed(option, "ready", facts).judged(bundle)


def chosen_phone(serial: str) -> str:
    """Put the serial of a phone into ANDROID_SERIAL, where workers find it; return its name.

    Raises:
        NoDevice, SeveralDevices: see `adb.select`.
    """
    remote = adb.select(serial or None)
    os.environ[adb.SERIAL_VARIABLE] = remote.serial
    facts = facts_of(remote)
    return f"{facts.model} {remote.serial}" if facts.model else remote.serial
