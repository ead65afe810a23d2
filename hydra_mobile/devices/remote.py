"""A machine reached through a connection that may break: the five things everything else needs.

`adb.AdbRemote` is a phone. Callers catch `DeviceGone`, call `reconnect` and go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class ShellResult:
    """What a command said, standard output and errors together, and its exit code."""

    code: int
    output: str


class Remote(Protocol):
    """A device.

    Attributes:
        serial: what names it.
        root: the folder on it that is ours.
    """

    serial: str
    root: str

    def shell(self, command: str, timeout: float = 60.0) -> ShellResult:
        """Run a command of its POSIX shell.

        Raises:
            DeviceGone: the connection broke before the command's end was seen, or `timeout` seconds
                went by.
        """

    def push(self, local: Path, remote: str) -> None:
        """Copy a file to the device; what lies there under that name may be half-written after.

        Raises:
            DeviceGone: the connection broke.
            DeviceFull: no room.
        """

    def read(self, path: str, offset: int = 0) -> bytes:
        """Return a file's bytes from `offset` on, or fewer where the connection breaks silently.

        A file that is not there has none.

        Raises:
            DeviceGone: the connection broke.
        """

    def reconnect(self, seconds: float) -> None:
        """Wait until the device answers again.

        Raises:
            DeviceGone: it did not within `seconds`.
        """
