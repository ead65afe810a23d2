"""A folder of this machine as a device: commands run in its shell, files are copied.

For trying out, without a phone, what is built on a connection.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from hydra_mobile.devices.errors import DeviceFull, DeviceGone
from hydra_mobile.devices.remote import ShellResult

#: What a device's answer has behind its id, as the C++ runner and the app write it.
REST = (
    '"ids": [1], "margin": 0.5, "encode_seconds": null, "prefill_seconds": 0.1, '
    '"prefill_tokens": 3, "first_token_seconds": null, "decode_seconds": 0.1, "decode_steps": 1}'
)


class LocalRemote:
    """This machine; `folder` plays the device's disk.

    Args:
        folder: where everything is put.
        path: folders that its shell looks into first, as a device has tools of its own.
    """

    def __init__(self, folder: Path, path: str = "") -> None:
        self.serial = "local"
        self.root = str(folder)
        folder.mkdir(parents=True, exist_ok=True)
        search = os.environ.get("PATH", "")
        self._environment = {**os.environ, "PATH": f"{path}:{search}" if path else search}

    def shell(self, command: str, timeout: float = 60.0) -> ShellResult:
        """See `Remote.shell`."""
        try:
            done = subprocess.run(
                ["sh", "-c", command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
                env=self._environment,
            )
        except subprocess.TimeoutExpired:
            raise DeviceGone(f"`{command}` took more than {timeout:.0f} s.") from None
        return ShellResult(done.returncode, done.stdout.decode(errors="replace"))

    def push(self, local: Path, remote: str) -> None:
        """See `Remote.push`."""
        try:
            shutil.copyfile(local, remote)
            Path(remote).chmod(0o755)
        except OSError as error:
            raise DeviceFull(f"{remote} cannot be written: {error.strerror}.") from error

    def read(self, path: str, offset: int = 0) -> bytes:
        """See `Remote.read`."""
        try:
            with Path(path).open("rb") as handle:
                handle.seek(offset)
                return handle.read()
        except FileNotFoundError:
            return b""

    def reconnect(self, seconds: float) -> None:
        """Do nothing: this machine is here."""
