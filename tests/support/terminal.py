"""A command on a terminal of its own: what it prints, and keys that are pressed there."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CTRL_C, CTRL_D = "\x03", "\x04"
# Far beyond what a step takes on a busy machine.
_PATIENCE_SECONDS = 120.0


class Terminal:
    """`hydra-mobile` with a pseudo-terminal as its standard streams; Ctrl-C reaches its group."""

    def __init__(
        self, words: Sequence[object], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        import pty

        self._master, slave = pty.openpty()
        self.said = ""
        self._seen = 0
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "hydra_mobile", *map(str, words)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "TERM": "dumb",
                **(environment or {}),
            },
            # The terminal becomes the one that its keys are sent from.
            preexec_fn=_take_terminal,
        )
        os.close(slave)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str) -> str:
        """Read until `text` is printed; return what came since the last call, it included."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while text not in self.said[self._seen :]:
            if time.monotonic() > until or not self._read(1.0):
                raise AssertionError(f"{text!r} was not printed: {self.said}")
        end = self.said.index(text, self._seen) + len(text)
        found, self._seen = self.said[self._seen : end], end
        return found

    def wait_for_more(self, characters: int) -> None:
        """Read until so many characters more are printed."""
        until, wanted = time.monotonic() + _PATIENCE_SECONDS, len(self.said) + characters
        while len(self.said) < wanted:
            if time.monotonic() > until or not self._read(1.0):
                raise AssertionError(f"nothing more was printed: {self.said}")

    def ended(self) -> int:
        """Read to the end; return the exit code."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until and self._read(1.0):
            pass
        try:
            return self.process.wait(10)
        finally:
            self.close()

    def close(self) -> None:
        """End what still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _read(self, seconds: float) -> bool:
        """Read what is there; False: the other side is closed."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.said += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)


def _take_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
