"""Phones and boards over adb, through the library adbutils (extra `device`), which brings adb too.

A killed `adb shell` looks like a success, so every command here ends with a mark of its own that
tells its exit code; without the mark the connection broke. Serials of the form HOST:PORT are
connected to, as `adb connect` does.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra_mobile.core.boundaries import reason_of, shown
from hydra_mobile.core.errors import HydraError
from hydra_mobile.devices.errors import DeviceGone, NoDevice, SeveralDevices
from hydra_mobile.devices.remote import ShellResult

#: The folder on a device that everything is put into; every Android lets adb write there.
ROOT = "/data/local/tmp/hydra-mobile"
#: Another one, for boards without it.
ROOT_VARIABLE = "HYDRA_MOBILE_DEVICE_ROOT"
#: Names the device, as for adb itself.
SERIAL_VARIABLE = "ANDROID_SERIAL"
#: Where adb's server listens, as for adb itself.
PORT_VARIABLE = "ANDROID_ADB_SERVER_PORT"

_MARK = "__HYDRA_END__"
# A server that takes longer to say which devices there are hangs.
_ANSWER_SECONDS = 15.0
#: Between two looks at a phone that is away.
_AGAIN_SECONDS = 0.5
# What adbutils raises for a server that does not answer, or answers what adb never says.
_GARBLED = (ValueError, IndexError, struct.error, subprocess.SubprocessError)


class AdbRemote:
    """A device that adb knows and that may be used."""

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self.root = os.environ.get(ROOT_VARIABLE) or ROOT
        self._device = _client().device(serial)

    def shell(self, command: str, timeout: float = 60.0) -> ShellResult:
        """See `Remote.shell`."""
        # A shell of its own: a command that exits must not take the mark with it.
        wrapped = f"( {command}\n) 2>&1; echo {_MARK}:$?"
        with _breaking(self.serial):
            said = self._device.shell(wrapped, timeout=timeout, encoding=None, rstrip=False)
        text = bytes(said).decode(errors="replace").replace("\r\n", "\n")
        output, mark, code = text.rpartition(f"{_MARK}:")
        if not mark or not code.strip().isdigit():
            raise DeviceGone(
                f"The connection to {self.serial} broke while a command was running.",
                "Check the cable; the same command goes on.",
            )
        return ShellResult(int(code), output)

    def push(self, local: Path, remote: str) -> None:
        """See `Remote.push`."""
        with _breaking(self.serial), local.open("rb") as handle:
            self._device.sync.push(handle, remote)

    def read(self, path: str, offset: int = 0) -> bytes:
        """See `Remote.read`."""
        # `exec:` and not `shell:`, whose terminal would change line ends.
        command = f"tail -c +{offset + 1} '{path}' 2>/dev/null"
        with _breaking(self.serial), self._device.open_transport(timeout=60.0) as connection:
            connection.send_command(f"exec:{command}")
            connection.check_okay()
            content = bytearray()
            while block := connection.conn.recv(1 << 16):
                content += block
        return bytes(content)

    def reconnect(self, seconds: float) -> None:
        """See `Remote.reconnect`."""
        until = time.monotonic() + seconds
        while True:
            _connect(self.serial)
            try:
                if self.shell("echo here", timeout=10.0).output.strip() == "here":
                    return
            except DeviceGone as error:
                if time.monotonic() > until:
                    raise DeviceGone(
                        f"{self.serial} did not come back within {seconds:.0f} s.",
                        "Connect it again; the same command goes on where it stopped.",
                    ) from error
            time.sleep(_AGAIN_SECONDS)


def devices() -> dict[str, str]:
    """Return serial -> state ("device", "offline", "unauthorized", ...) of all that adb knows.

    Raises:
        HydraError: adb or adbutils is not there.
    """
    with _breaking("adb"):
        return {item.serial: item.state for item in _client().list()}


def select(serial: str | None = None) -> AdbRemote:
    """Return the device of a serial, or the only one.

    Args:
        serial: None: what the environment variable ANDROID_SERIAL names, else the only one.

    Raises:
        NoDevice: none is connected, or not this one, or it may not be used yet.
        SeveralDevices: which one is open.
        HydraError: adb or adbutils is not there.
    """
    serial = serial or os.environ.get(SERIAL_VARIABLE) or None
    if serial:
        _connect(serial)
    known = devices()
    if serial is None and len(known) > 1:
        raise SeveralDevices(
            f"{len(known)} devices are connected: {', '.join(known)}.",
            "Name one: --device adb:SERIAL",
        )
    if not known or (serial and serial not in known):
        others = f"; adb knows {', '.join(known)}" if known else ""
        raise NoDevice(
            f"{f'No device {serial}' if serial else 'No device'} is connected{others}.",
            "Switch on USB debugging in the phone's developer options, plug it in, and look "
            "whether `hydra-mobile devices` lists it.",
        )
    chosen = serial or next(iter(known))
    if known[chosen] == "unauthorized":
        raise NoDevice(
            f"{chosen} does not trust this computer yet.",
            "Unlock the phone and allow USB debugging in the question that it shows.",
        )
    if known[chosen] != "device":
        raise NoDevice(
            f"{chosen} is {known[chosen]}, not ready.",
            "Plug it in again, or restart it; a phone in recovery mode runs no programs.",
        )
    return AdbRemote(chosen)


def chosen() -> AdbRemote:
    """Return the device that ANDROID_SERIAL names, connected at this moment or not.

    Raises:
        NoDevice, SeveralDevices: it names none, and `select` finds none.
    """
    serial = os.environ.get(SERIAL_VARIABLE)
    return AdbRemote(serial) if serial else select()


def shell_command(serial: str, command: str) -> list[str]:
    """Return the adb client's command line that runs `command` with binary input and output."""
    import adbutils

    return [adbutils.adb_path(), "-s", serial, "shell", "-T", command]


def _client() -> Any:
    try:
        import adbutils
    except ModuleNotFoundError:
        raise HydraError(
            "The package `adbutils` is not installed; phones are reached through it.",
            'Install it with: pip install "hydra-mobile[device]"',
        ) from None
    port = os.environ.get(PORT_VARIABLE, "")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise HydraError(
            f"{PORT_VARIABLE} is no port of a server",
            "Set it to a number, or not at all: adb's own port is 5037.",
            where=PORT_VARIABLE,
            found=shown(port),
            expected="a number from 1 to 65535",
        )
    # Host and port as adb's own client takes them from the environment.
    return adbutils.AdbClient(socket_timeout=_ANSWER_SECONDS)


def _connect(serial: str) -> None:
    """Connect to HOST:PORT, which adb forgets when the connection breaks."""
    if not re.fullmatch(r"[^\s:]+:\d+", serial):
        return
    try:
        with _breaking(serial):
            _client().connect(serial, timeout=5.0)
    except DeviceGone:
        return  # whoever uses it next says so


@contextmanager
def _breaking(serial: str) -> Iterator[None]:
    """Turn the many ways in which a connection breaks into one."""
    import adbutils

    try:
        yield
    except (adbutils.AdbError, EOFError, OSError, *_GARBLED) as error:
        if isinstance(error, FileNotFoundError):
            if Path(str(error.filename)).stem != "adb":
                raise
            raise HydraError(
                f"adb's server does not run, and its program is not here: {error.filename}.",
                'Install it with: pip install "hydra-mobile[device]"',
                kind="missing",
            ) from error
        raise DeviceGone(
            f"The connection to {serial} broke: {reason_of(error)}.",
            "Check the cable, and whether `hydra-mobile devices` lists it; the same command goes "
            "on where it stopped.",
        ) from error
