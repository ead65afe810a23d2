"""`hydra-mobile runs plot`: loss curves of runs beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.places import FilePlace
from hydra_mobile.core.own_files import PLOT

_MARKS = "o·x+*#"
_ROWS, _COLUMNS = 12, 60


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Run folders")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", parser=FilePlace(PLOT), help="The plot as SVG")
    ] = Path("runs/plot.svg"),
) -> ui.Result:
    """Draw the loss curves of runs beside each other.

    Held-out losses where all runs have them, else those of training.
    """
    ui.prepare()
    from hydra_mobile.api.run_plots import run_losses

    found = run_losses(runs)
    ui.line(found.title)
    for line in _drawn(found.series):
        ui.line(line)
    ui.blank()
    for mark, (name, points) in zip(_MARKS * len(found.series), found.series.items(), strict=False):
        step, loss = min(points, key=lambda point: point[1])
        ui.line(f"  {mark} {name}   best {loss:.3f} at {step:,}, last {points[-1][1]:.3f}")
    file = found.picture().save(out)
    ui.line(f"  plot       {file}")
    return ui.Result(
        {"held_out": found.held_out, "series": found.series, "plot": file}, brief=str(file)
    )


def _drawn(series: Mapping[str, Sequence[tuple[int, float]]]) -> list[str]:
    """Return the curves in text, one mark for each run; the first one is on top."""
    values = [loss for points in series.values() for _, loss in points]
    low, high = min(values), max(values)
    last = max(step for points in series.values() for step, _ in points) or 1
    cells = [[" "] * _COLUMNS for _ in range(_ROWS)]
    named = list(zip(_MARKS * len(series), series.values(), strict=False))
    for mark, points in reversed(named):
        for step, loss in points:
            across = round((_COLUMNS - 1) * step / last)
            down = round((_ROWS - 1) * (high - loss) / (high - low or 1.0))
            cells[down][across] = mark
    lines = []
    for number, row in enumerate(cells):
        value = high - (high - low) * number / (_ROWS - 1)
        label = f"{value:6.2f} ┤" if number % 3 == 2 or number in (0, _ROWS - 1) else "       │"
        lines.append(f"{label}{''.join(row)}".rstrip())
    lines.append("       └" + "─" * _COLUMNS)
    end = f"{last:,} steps"
    lines.append(f"        0{end:>{_COLUMNS - 1}}")
    return lines
