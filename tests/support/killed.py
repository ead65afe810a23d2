"""Command lines killed or interrupted: before the n-th change that they make to the disk.

A process of its own imports everything once and forks for each command, which takes a fraction of
the seconds that the imports would. What counts as a change is what Python asks of the system: files
opened for writing, renamed, removed, folders made. Between two of them libraries write.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")


#: The system's folder for temporary files, in that of the commands; whoever lays that makes it.
TEMPORARY = "temporary"
#: The exit code of a command whose processes went on for minutes after it was killed.
ORPHANS = 999


class Ended(NamedTuple):
    """How a command ended: its exit code (-9: killed), how many changes it made, what it said."""

    code: int
    changes: int
    said: str


class Commands:
    """Runs `hydra-mobile` in a folder, in forks of one process."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        environment = {
            **os.environ,
            "HYDRA_MOBILE_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": str(folder / TEMPORARY),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=folder,
            text=True,
        )

    def run(
        self, arguments: Sequence[object], kill_at: int = 0, number: int = signal.SIGKILL
    ) -> Ended:
        """Run a command.

        Args:
            arguments: its words.
            kill_at: before which change it gets the signal, from 1; 0: never.
            number: the signal. Ctrl-C goes to the workers of a command as well.
        """
        ask = {
            "arguments": [str(a) for a in arguments],
            "folder": str(self._folder),
            "kill_at": kill_at,
            "number": int(number),
        }
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(ask) + "\n")
        self._process.stdin.flush()
        return Ended(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import hydra_mobile.evaluation.evaluate
    import hydra_mobile.models.checkpoints.composing
    import hydra_mobile.training.run  # noqa: F401
    from hydra_mobile.cli.main import main

    for line in sys.stdin:
        ask = json.loads(line)
        folder = Path(ask["folder"])
        said, counted = folder / "said", folder / "changes"
        counted.write_bytes(b"0")
        child = os.fork()
        if child == 0:
            _become(ask, main, said, counted)
        _, status = os.waitpid(child, 0)
        code, text = os.waitstatus_to_exitcode(status), said.read_text("utf-8")
        if not _orphans_end(child):
            code, text = ORPHANS, f"{text}\nIts processes go on without it."
        ended = (code, int(counted.read_bytes()), text)
        said.unlink()
        counted.unlink()
        answers.write(json.dumps(ended) + "\n")
        answers.flush()


def _become(ask: Mapping[str, Any], main: Any, said: Path, counted: Path) -> None:
    """Be the command: never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["hydra-mobile", *ask["arguments"]]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        changes = _Changes(Path(ask["folder"]), ask["kill_at"], ask["number"])
        sys.addaudithook(changes.see)
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        changes.kill_at = 0
        counted.write_bytes(str(changes.count).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Changes:
    def __init__(self, folder: Path, kill_at: int, number: int) -> None:
        self.count, self.kill_at, self._number = 0, kill_at, number
        self._folder = str(folder)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "ctypes.dlsym":
            if arguments[1] != "renameat2":
                return
        elif event == "open":
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            if not flags & _WRITES or not self._below(arguments[0]):
                return
        elif event not in _CHANGES or not self._below(arguments[0]):
            return
        self.count += 1
        if self.count == self.kill_at:
            if self._number == signal.SIGINT:
                os.killpg(0, signal.SIGINT)
            else:
                os.kill(os.getpid(), self._number)

    def _below(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(self._folder)


def _orphans_end(group: int) -> bool:
    """Wait until the workers of a killed command have ended; return whether they did."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return False


if __name__ == "__main__":
    _serve()
