"""Running our own verbs in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hydra_mobile.core.errors import CheckFailed, HydraError
from hydra_mobile.core.progress import Log, silent

_POLL_SECONDS = 0.2
#: Lines that an error keeps of what a verb said.
_LINES = 30
#: A verb that was interrupted gets so long to end by itself.
_PATIENCE_SECONDS = 10.0
_VERB = """
from hydra_mobile.core.subprocesses import end_with_parent
end_with_parent()
from hydra_mobile.cli.main import main
main()
"""


@dataclass
class _Verb:
    words: Sequence[str]
    process: subprocess.Popen[str]
    said: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    reader: threading.Thread | None = None


def end_with_parent() -> None:
    """End this process when the one that started it has ended, whatever ended that.

    Standard input must be a pipe that the parent holds open and writes nothing to. The process
    gets SIGTERM, so that it ends at its next safe place, and is ended if there comes none.
    """

    def watch() -> None:
        # Not through sys.stdin: its lock, held by a thread, would abort the interpreter's end.
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_PATIENCE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_verbs(
    verbs: Sequence[Sequence[str]],
    at_once: int = 2,
    *,
    log: Log = silent,
    poll: Callable[[int], None] = lambda done: None,
) -> None:
    """Run several verbs, some of them at the same time, and wait for all.

    Args:
        verbs: words of each behind `hydra-mobile`.
        at_once: so many at the same time.
        log: receives every line that they print.
        poll: called now and then with the number of those that are done.

    Raises:
        HydraError: one of them failed; it has what the verb said. The others are stopped.
    """
    command = [sys.executable, "-W", "ignore", "-c", _VERB]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    if min(at_once, len(verbs)) > 1:
        # Threads that wait for work sleep: where they spin, they take the cores from other verbs.
        environment.setdefault("OMP_WAIT_POLICY", "passive")
    waiting, running, done = list(verbs), list[_Verb](), 0
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_started(command, waiting.pop(0), environment, log))
            time.sleep(_POLL_SECONDS)
            for verb in [each for each in running if each.process.poll() is not None]:
                running.remove(verb)
                _close(verb)
                if verb.process.returncode:
                    raise _failure(verb)
                done += 1
            poll(done)
    finally:
        _stop(running)


def _started(
    command: Sequence[str], words: Sequence[str], environment: Mapping[str, str], log: Log
) -> _Verb:
    process = subprocess.Popen(
        [*command, *words],
        # Its end tells the verb that we have ended.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
    )
    verb = _Verb(words, process)

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            verb.said.append(line.rstrip("\n"))
            log(line.rstrip("\n"))

    verb.reader = threading.Thread(target=read, daemon=True)
    verb.reader.start()
    return verb


def _close(verb: _Verb) -> None:
    """Read what an ended verb still said, and drop the pipe that it watched."""
    if verb.reader:
        verb.reader.join()
    if verb.process.stdin:
        with contextlib.suppress(OSError):
            verb.process.stdin.close()


def _failure(verb: _Verb) -> HydraError:
    """Return the error of a verb that failed, with its own words."""
    lines = [line for line in verb.said if line.strip()]
    starts = [at for at, line in enumerate(lines) if line.startswith(("error: ", "\u2717 "))]
    said = lines[starts[-1] :] if starts else lines[-5:]
    # What a check found stays the finding of a check.
    found = verb.process.returncode == CheckFailed.exit_code
    return (CheckFailed if found else HydraError)(
        f"`hydra-mobile {verb.words[0]}` failed with exit code {verb.process.returncode}",
        f"see what it says, then: hydra-mobile {' '.join(verb.words)}",
        where=" ".join(["hydra-mobile", *verb.words]),
        found="\n".join(said),
    )


def _stop(running: Sequence[_Verb]) -> None:
    """End what still runs. On Ctrl-C the verbs got it too, and end at their next safe place."""
    if not isinstance(sys.exception(), KeyboardInterrupt):
        _terminate(running)
    for verb in running:
        try:
            verb.process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            _terminate([verb])
            verb.process.wait()
        _close(verb)


def _terminate(verbs: Sequence[_Verb]) -> None:
    for verb in verbs:
        with contextlib.suppress(OSError):
            verb.process.terminate()
