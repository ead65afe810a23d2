"""Running our own verbs in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from hydra_mobile.core.errors import HydraError

_POLL_SECONDS = 0.2


def run_verb(arguments: Sequence[str]) -> None:
    """Run `hydra-mobile ARGUMENTS`, its output going where ours goes.

    Raises:
        HydraError: the verb failed; it has already said why.
    """
    run_verbs([arguments])


def run_verbs(verbs: Sequence[Sequence[str]], at_once: int = 2) -> None:
    """Run several verbs, some of them at the same time, and wait for all.

    Raises:
        HydraError: one of them failed; it has already said why. The others are stopped.
    """
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile"]
    waiting = list(verbs)
    running: list[tuple[Sequence[str], subprocess.Popen[bytes]]] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                verb = waiting.pop(0)
                running.append((verb, subprocess.Popen([*command, *verb])))
            time.sleep(_POLL_SECONDS)
            for verb, process in [pair for pair in running if pair[1].poll() is not None]:
                running.remove((verb, process))
                if process.returncode:
                    raise HydraError(
                        f"`hydra-mobile {' '.join(verb)}` failed; see its message above."
                    )
    finally:
        for _, process in running:
            process.terminate()
            process.wait()
