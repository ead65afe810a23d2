"""The log file of a command: what was shown, what libraries said, and the trace of a fault."""

from __future__ import annotations

import datetime
import logging
import os
import platform
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from hydra_mobile import __version__

# Lines that are kept while there is no file yet, and files that stay in the cache.
_LINES = 5000
_FILES = 20
_NAMES: tuple[str, ...] = (
    "HYDRA_MOBILE_HOME",
    "HYDRA_MOBILE_DATA",
    "ANDROID_SERIAL",
    "HF_HOME",
    "HF_HUB_OFFLINE",
)
_NAMES += ("RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TMPDIR", "CI")


class Log:
    """Lines of one command; a file from the moment on that its folder is there.

    Nothing is written before a place is known: a listing leaves no file behind.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._command = command
        self._asked: Path | None = None
        self.path: Path | None = None
        self.write(" ".join(command))
        self.write(f"hydra-mobile {__version__}, Python {platform.python_version()}")
        self.write(f"{platform.platform()}, {os.cpu_count()} cores")
        for name in _NAMES:
            if name in os.environ:
                self.write(f"{name}={os.environ[name]}")

    def place(self, path: Path) -> None:
        """Write to `path` from now on, what was said before included."""
        if self.path is None:
            self._asked = path
            self._open()

    def _open(self) -> None:
        """Begin the file if the folder that it belongs to exists."""
        path = self._asked
        # RUN/logs/train.log: the run's folder is the verb's to make, not ours.
        if path is None or not _is_in_use(path.parent.parent):
            return
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("a", encoding="utf-8", errors="replace") as handle:
                handle.write("\n".join(self._lines) + "\n")
        except OSError:
            # A log that cannot be written must not stop the work that it is about.
            self._asked = None
            return
        self.path = path
        self._lines.clear()

    def write(self, text: str) -> None:
        """Add a line, with the time."""
        now = datetime.datetime.now().strftime("%H:%M:%S")
        line = f"{now} {text}"
        if self.path is None and self._asked is not None:
            self._lines.append(line)
            self._open()
            return
        if self.path is None:
            self._lines.append(line)
            return
        try:
            with self.path.open("a", encoding="utf-8", errors="replace") as handle:
                handle.write(line + "\n")
        except OSError:
            self.path = None

    def keep(self, verb: str) -> Path | None:
        """Write the log to the cache if it has no other place; return where it is, if anywhere."""
        if self.path is None:
            from hydra_mobile.core.files import cache_home

            folder = cache_home() / "logs"
            stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                for old in sorted(folder.glob("*.log"))[: -_FILES + 1]:
                    old.unlink(missing_ok=True)
            except OSError:
                return None
            self._asked = folder / f"{stamp}-{verb}-{os.getpid()}.log"
            self._open()
        return self.path


def _is_in_use(folder: Path) -> bool:
    """Whether a folder is there to stay: one with a lock alone goes if the work cannot begin."""
    try:
        return any(not each.name.startswith(".") for each in folder.iterdir())
    except OSError:
        return False


class Handler(logging.Handler):
    """Hands what libraries log to a `Log`, and so keeps it off the screen."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._log.write(f"{record.name}: {record.levelname.lower()}: {record.getMessage()}")
        except Exception:
            self.handleError(record)


def attach(log: Log) -> logging.Handler:
    """Send Python's warnings and the records of all libraries to `log`."""
    handler = Handler(log)
    logging.getLogger().addHandler(handler)
    if not sys.warnoptions:
        logging.captureWarnings(True)
    return handler


def detach(handler: logging.Handler) -> None:
    """Undo `attach`."""
    logging.getLogger().removeHandler(handler)
    logging.captureWarnings(False)
