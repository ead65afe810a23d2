"""What a run folder holds to go on from, and whether somebody trains there; without torch."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from hydra_mobile.core.boundaries import writing
from hydra_mobile.core.folders import require_replaceable
from hydra_mobile.core.locks import exclusive
from hydra_mobile.core.marks import RUN
from hydra_mobile.training.metrics import STAGES

# A killed run's processes for data end within seconds.
_WAIT_SECONDS = 3.0

_CHECKPOINT = re.compile(rf"[0-9]-({'|'.join(STAGES)})-[0-9]{{7,}}")
_RESULTS = ("summary.json", "adapter", "merged")


def checkpoints_in(run: Path) -> list[Path]:
    """Return the whole checkpoints of a run in the order of training.

    Only names of exactly our form: what else people and systems put there is theirs.
    """
    folder = run / "checkpoints"
    found = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if _CHECKPOINT.fullmatch(path.name) and (path / "state.json").is_file()
    ]
    # Steps of more than seven digits sort behind those of seven.
    return sorted(found, key=lambda path: (path.name[0], int(path.name.rpartition("-")[2])))


def is_begun(run: Path) -> bool:
    """Return whether there is a run with a checkpoint or a result.

    A start that ended before its first checkpoint left nothing to go on from.
    """
    return (run / "run.json").is_file() and (
        bool(checkpoints_in(run)) or any((run / name).exists() for name in _RESULTS)
    )


@contextlib.contextmanager
def alone_in(run: Path, *, resume: bool) -> Iterator[None]:
    """Hold a run folder as the only one who trains there.

    Of the processes of one run the first holds it. A folder that was made for it and stays empty
    is removed.

    Args:
        run: the folder; is made for a new run.
        resume: whether the run is said to be there already; one that is not is not made.

    Raises:
        ArtifactError: the folder of a new run holds something else.
        HydraError: another process trains there (names its id, host and start), or the folder
            cannot be made.
    """
    if os.environ.get("RANK", "0") != "0" or (resume and not run.is_dir()):
        yield
        return
    if not resume:
        require_replaceable(run, RUN)
    try:
        with contextlib.ExitStack() as held:
            with writing(run):
                run.mkdir(parents=True, exist_ok=True)
                lock = run / ".training.lock"
                held.enter_context(exclusive(lock, f"The run {run}", wait=_WAIT_SECONDS))
            yield
    finally:
        # Only an empty one goes.
        with contextlib.suppress(OSError):
            run.rmdir()
