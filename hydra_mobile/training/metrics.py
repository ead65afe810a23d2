"""metrics.jsonl: one line per logged step, never two for one step.

After an interruption, lines behind the checkpoint are dropped before training goes on.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hydra_mobile.core.boundaries import reading, shown, writing
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.json_text import DuplicateKey, dumps, loads

STAGES = ("align", "stage1", "stage2")


class MetricsFile:
    """Appends metrics; reads them back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, stage: str, step: int, **values: Any) -> None:
        """Add one line and hand it to the operating system at once."""
        with writing(self.path), self.path.open("a") as handle:
            handle.write(dumps({"stage": stage, "step": step, **values}) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """Return all lines that are JSON: the last one may have been cut short by a kill.

        Raises:
            ArtifactError: the file cannot be read, or a line has no place in a run.
        """
        if not self.path.exists():
            return []
        with reading(self.path, "the metrics of a run"):
            content = self.path.read_bytes()
        lines = []
        # Not `splitlines`, which ends lines at characters that JSON texts may hold.
        for number, line in enumerate(content.split(b"\n"), 1):
            try:
                value = loads(line)
            except DuplicateKey as error:
                # No kill leaves that.
                raise ArtifactError(
                    f"{self.path}, line {number}: {error}.",
                    "The file was altered: remove that line.",
                    where=str(self.path),
                ) from error
            except (ValueError, RecursionError):
                continue
            if not isinstance(value, dict) or not self._is_placed(value):
                raise ArtifactError(
                    f"{self.path}, line {number}: found {shown(value)}, expected keys and values "
                    f"with a `stage` of {', '.join(STAGES)} and a `step`.",
                    "The file was altered: remove that line.",
                    where=str(self.path),
                )
            lines.append(value)
        return lines

    @staticmethod
    def _is_placed(value: dict[str, Any]) -> bool:
        step = value.get("step")
        known = isinstance(step, int | float) and math.isfinite(step)
        return known and isinstance(value.get("stage"), str) and value["stage"] in STAGES

    def keep_until(self, stage: str, step: int) -> None:
        """Drop what was logged after `step` of `stage`."""
        place = (STAGES.index(stage), step)
        kept = [m for m in self.read() if (STAGES.index(m["stage"]), m["step"]) <= place]
        with write_atomically(self.path) as temporary:
            temporary.write_text("".join(dumps(m) + "\n" for m in kept))
