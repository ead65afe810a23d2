"""What a run folder holds to go on from, told by names alone."""

from __future__ import annotations

import re
from pathlib import Path

from hydra_mobile.training.metrics import STAGES

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
