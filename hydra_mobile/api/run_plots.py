"""Loss curves of several runs, for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.api.run import Run
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.reporting.notebook import Svg
from hydra_mobile.reporting.run_losses import losses_picture

#: As much of no loss as infinity, but for the axis.
_LARGEST = 1e30


@dataclass(frozen=True)
class RunLosses:
    """The losses of stage II of several runs.

    Attributes:
        held_out: whether they are held-out losses; else those of training.
        series: run -> (step, loss) in order.
    """

    held_out: bool
    series: dict[str, list[tuple[int, float]]]

    @property
    def title(self) -> str:
        """What is shown."""
        return f"{'Held-out' if self.held_out else 'Training'} loss of stage II"

    def picture(self) -> Svg:
        """Return the curves as one plot."""
        return Svg.of([losses_picture(self.series, self.title)])


def run_losses(runs: Sequence[str | Path]) -> RunLosses:
    """Return the losses of runs: held-out ones where all have them, else those of training.

    Raises:
        ArtifactError: a folder holds no run, or a run has no step of stage II yet.
    """
    metrics = {
        str(run): [m for m in Run.open(run).metrics if m["stage"] == "stage2"] for run in runs
    }
    held_out = all(any("validation_loss" in m for m in found) for found in metrics.values())
    key = "validation_loss" if held_out else "loss"
    series = {
        run: [(int(m["step"]), float(m[key])) for m in found if _can_be_shown(m.get(key))]
        for run, found in metrics.items()
    }
    for run, points in series.items():
        if not points:
            raise ArtifactError(
                f"{run} has no step of stage II to show yet.", f"hydra-mobile runs show {run}"
            )
    return RunLosses(held_out, series)


def _can_be_shown(loss: Any) -> bool:
    """Say whether a loss is a number that can be drawn; damaged and diverged runs have others."""
    return isinstance(loss, int | float) and abs(loss) < _LARGEST
