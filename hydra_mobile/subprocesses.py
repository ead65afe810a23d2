"""Running one of our own verbs in a process of its own."""

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
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", *arguments]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise HydraError(f"`hydra-mobile {' '.join(arguments)}` failed; see its message above.")
