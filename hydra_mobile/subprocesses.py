"""Running our own verbs in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from hydra_mobile.errors import HydraError


def run_verb(arguments: Sequence[str]) -> None:
    """Run `hydra-mobile ARGUMENTS`, its output going where ours goes.

    Raises:
        HydraError: the verb failed; it has already said why.
    """
    run_verbs([arguments])


def run_verbs(verbs: Sequence[Sequence[str]]) -> None:
    """Run several verbs at the same time and wait for all.

    Raises:
        HydraError: one of them failed; it has already said why.
    """
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile"]
    running = [(verb, subprocess.Popen([*command, *verb])) for verb in verbs]
    try:
        for _, process in running:
            process.wait()
    except BaseException:
        for _, process in running:
            process.terminate()
        raise
    for verb, process in running:
        if process.returncode:
            raise HydraError(f"`hydra-mobile {' '.join(verb)}` failed; see its message above.")
