"""The loss curve and the rank map as PNG, for slides; needs the `report` extra (matplotlib).

The HTML report does not use these. Whoever wants a file calls them with a finished `Report`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hydra_mobile.errors import ArtefactError, HydraError
from hydra_mobile.files import write_atomically
from hydra_mobile.reporting.plots import curves
from hydra_mobile.reporting.ranks import RankGrid, grids
from hydra_mobile.reporting.schema import Report, TrainingSection


def rank_map_png(report: Report, path: Path) -> None:
    """Draw the rank map of every stack, one below the other.

    Raises:
        ArtefactError: the report has no rank map.
        HydraError: matplotlib is not installed.
    """
    training = _training(report)
    found = grids(training.rank_map)
    if not found:
        raise ArtefactError("The report has no rank map.", "Report on a trained run.")
    wide = max(len(grid.layers) for grid in found)
    figure = _figure(max(5.0, 0.32 * wide + 2), sum(0.32 * len(g.projections) + 1.1 for g in found))
    ratios = [len(grid.projections) + 2 for grid in found]
    axes = figure.subplots(len(found), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for grid, ax in zip(found, axes, strict=True):
        _draw_grid(ax, grid, training.r_ref)
    _save(figure, path)


def loss_png(report: Report, path: Path) -> None:
    """Draw the loss of every stage, raw and smoothed.

    Raises:
        ArtefactError: the report has no loss curve.
        HydraError: matplotlib is not installed.
    """
    found = [curve for curve in curves(_training(report).loss) if curve.raw]
    if not found:
        raise ArtefactError("The report has no loss curve.", "Report on a trained run.")
    figure = _figure(8.0, 3.6)
    ax = figure.subplots()
    for curve in found:
        ax.plot(curve.steps, curve.raw, color="#2f5fc4", alpha=0.3, linewidth=0.8)
        ax.plot(curve.steps, curve.smooth, color="#2f5fc4", linewidth=2)
        if curve.start:
            ax.axvline(curve.start, color="#57606a", linestyle=":", linewidth=1)
        at = (curve.start, 1.02)
        ax.annotate(f"stage {curve.stage}", at, xycoords=("data", "axes fraction"), fontsize=9)
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    ax.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _training(report: Report) -> TrainingSection:
    if report.training is None:
        raise ArtefactError("The report has no training section.", "Report on a trained run.")
    return report.training


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise HydraError(
            "PNG pictures need matplotlib, which is not installed.",
            "Run: pip install 'hydra-mobile[report]'",
        ) from None
    # A bare Figure needs no display and leaves the user's pyplot alone.
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _draw_grid(ax: Any, grid: RankGrid, r_ref: int) -> None:
    rows = [[grid.cells.get((layer, p)) for layer in grid.layers] for p in grid.projections]
    shades = [[math.log2(max(r, r_ref / 8) / r_ref) if r is not None else math.nan for r in row]
              for row in rows]  # fmt: skip
    ax.imshow(shades, cmap="RdBu_r", vmin=-2.5, vmax=2.5, aspect="auto")
    for i, row in enumerate(rows):
        for j, rank in enumerate(row):
            if rank is not None:
                dark = abs(shades[i][j]) > 1.7
                colour = "white" if dark else "black"
                ax.text(j, i, str(rank), ha="center", va="center", fontsize=6, color=colour)
    ax.set_yticks(range(len(grid.projections)), grid.projections, fontsize=8)
    ax.set_xticks(range(len(grid.layers)), grid.layers, fontsize=6)
    ax.set_title(f"{grid.stack}: rank by layer, uniform {r_ref}", fontsize=9, loc="left")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _save(figure: Any, path: Path) -> None:
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png")
