"""metrics.jsonl: one line per logged step, never two for one step.

After an interruption, lines behind the checkpoint are dropped before training goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra_mobile.core.files import write_atomically

STAGES = ("align", "stage1", "stage2")


class MetricsFile:
    """Appends metrics; reads them back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, stage: str, step: int, **values: Any) -> None:
        """Add one line and hand it to the operating system at once."""
        with self.path.open("a") as handle:
            handle.write(json.dumps({"stage": stage, "step": step, **values}) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """Return all whole lines; a last line cut short by a killed process is left out."""
        if not self.path.exists():
            return []
        lines = []
        for line in self.path.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return lines

    def keep_until(self, stage: str, step: int) -> None:
        """Drop what was logged after `step` of `stage`."""
        place = (STAGES.index(stage), step)
        kept = [m for m in self.read() if (STAGES.index(m["stage"]), m["step"]) <= place]
        with write_atomically(self.path) as temporary:
            temporary.write_text("".join(json.dumps(m) + "\n" for m in kept))
