"""Loss curve, rank map and rank history as PNG, for slides; needs the `report` extra (matplotlib).

The HTML report does not use these. Whoever wants a file calls them with a finished `Report`; the
rank history alone is enough for its picture, so that a run can be drawn while it trains.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import write_atomically
from hydra_mobile.reporting.plots import curves
from hydra_mobile.reporting.rank_history import (
    last_step,
    maps_in_force,
    mean_ranks,
    panels,
    spread_labels,
    stairs,
)
from hydra_mobile.reporting.ranks import RankGrid, grids
from hydra_mobile.reporting.schema import RankHistorySection, Report, TrainingSection

_LINES = ("#2f5fc4", "#3d9cc9", "#1f8a70", "#7d8a1f", "#c9772b", "#c0322b", "#8a4fb8")
_GRAY, _FAINT = "#57606a", "#a3abb5"
# Colors end at about six times and a sixth of the uniform rank.
_REACH = 2.5


def rank_map_png(report: Report, path: Path) -> None:
    """Draw the rank map of every stack, one below the other.

    Raises:
        ArtifactError: the report has no rank map.
        HydraError: matplotlib is not installed.
    """
    training = _training(report)
    found = grids(training.rank_map)
    if not found:
        raise ArtifactError("The report has no rank map.", "Report on a trained run.")
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
        ArtifactError: the report has no loss curve.
        HydraError: matplotlib is not installed.
    """
    found = [curve for curve in curves(_training(report).loss) if curve.raw]
    if not found:
        raise ArtifactError("The report has no loss curve.", "Report on a trained run.")
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


def rank_history_png(history: RankHistorySection, r_ref: int, path: Path) -> None:
    """Draw the maps in force side by side, and below them mean ranks over the steps.

    Args:
        history: has at least one map.
        r_ref: the uniform rank, the middle of the colors.
        path: the file to write.

    Raises:
        ArtifactError: the history has no map.
        HydraError: matplotlib is not installed.
    """
    maps = maps_in_force(history)
    if not maps:
        raise ArtifactError("The rank history has no map.", "Wait for stage II to begin.")
    shown = [(at, grid) for at in panels(maps) for grid in grids(at.ranks)]
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    tall = 0.19 * max(len(grid.projections) for _, grid in shown) + 0.62
    figure = _figure(15.0, tall * rows * (2 / columns) ** 0.5 + 3.6)
    above, below = figure.subfigures(2, 1, height_ratios=[tall * rows * (2 / columns) ** 0.5, 3.6])
    axes = above.subplots(rows, columns, squeeze=False)
    before: dict[str, dict[tuple[str, str], int]] = {}
    several = len({grid.stack for _, grid in shown}) > 1
    for i, ax in enumerate(axes.flat):
        if i >= len(shown):
            ax.set_visible(False)
            continue
        at, grid = shown[i]
        _draw_grid(ax, grid, r_ref)
        title = f"{grid.stack}, {at.title}" if several else at.title
        ax.set_title(title, fontsize=9, loc="left")
        ax.set_xticks(range(0, len(grid.layers), 5 if len(grid.layers) > 12 else 1))
        ax.set_xlabel("layer", fontsize=8)
        if i % columns:
            ax.set_yticks([])
        _outline(ax, grid, before.get(grid.stack, grid.cells))
        before[grid.stack] = grid.cells
    image = axes[0, 0].get_images()[0]
    bar = above.colorbar(image, ax=axes, shrink=1 if rows == 1 else 0.6, aspect=30, pad=0.01)
    bar.set_ticks([-2, -1, 0, 1, 2], labels=[f"{r_ref * 2.0**i:g}" for i in range(-2, 3)])
    bar.set_label(f"rank; white: uniform {r_ref}", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    _draw_lines(below.subplots(), history, r_ref)
    _save(figure, path)


def _outline(ax: Any, grid: RankGrid, before: dict[tuple[str, str], int]) -> None:
    from matplotlib.patches import Rectangle

    changed = {key for key, rank in grid.cells.items() if before.get(key) != rank}
    # Where nearly all changed, outlines would say nothing.
    if len(changed) >= len(grid.cells) / 2:
        return
    for layer, projection in changed:
        at = (grid.layers.index(layer) - 0.5, grid.projections.index(projection) - 0.5)
        ax.add_patch(Rectangle(at, 1, 1, fill=False, edgecolor="black", linewidth=0.9))


def _draw_lines(ax: Any, history: RankHistorySection, r_ref: int) -> None:
    last = last_step(history)
    for event in history.events:
        if event.kind == "freeze":
            ax.axvline(event.step, color=_GRAY, linestyle=":", linewidth=1)
            place = (event.step, 0.98)
            ax.annotate("  frozen from here", place, xycoords=("data", "axes fraction"),
                        fontsize=8, color=_GRAY, va="top")  # fmt: skip
        elif event.ranks and event.step:
            ax.axvline(event.step, color=_FAINT, linewidth=1)
    ax.axhline(r_ref, color="black", linestyle="--", linewidth=0.9)
    lines = mean_ranks(maps_in_force(history))
    for i, points in enumerate(lines.values()):
        ax.plot(*zip(*stairs(points, last), strict=True), color=_LINES[i % 7], linewidth=1.8)
    kept = [event.step for event in history.events if event.kind == "abstain"]
    bottom = ax.get_xaxis_transform()
    ax.scatter(kept, [0.03] * len(kept), transform=bottom, color=_FAINT, s=16, zorder=3)
    low, high = ax.get_ylim()
    if high - low < 1:
        low, high = r_ref - 1, r_ref + 1
    # Room for the dots below and the words above.
    margin = 0.08 * (high - low)
    ax.set_ylim(low - margin, high + margin)
    low, high = ax.get_ylim()
    ends = spread_labels([points[-1][1] for points in lines.values()], (high - low) / 17)
    for i, (name, end) in enumerate(zip(lines, ends, strict=True)):
        ax.annotate(f" {name}", (last, end), color=_LINES[i % 7], fontsize=9, va="center",
                    annotation_clip=False)  # fmt: skip
    ax.set_xlim(0, last)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("step")
    ax.set_ylabel("mean rank")
    ax.set_title("Mean rank of each projection; line: ranks changed, dot: map kept, dashes: "
                 "uniform rank", fontsize=9, loc="left")  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)


def _training(report: Report) -> TrainingSection:
    if report.training is None:
        raise ArtifactError("The report has no training section.", "Report on a trained run.")
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
    ax.imshow(shades, cmap="RdBu_r", vmin=-_REACH, vmax=_REACH, aspect="auto")
    for i, row in enumerate(rows):
        for j, rank in enumerate(row):
            if rank is not None:
                dark = abs(shades[i][j]) > 1.7
                color = "white" if dark else "black"
                ax.text(j, i, str(rank), ha="center", va="center", fontsize=6, color=color)
    ax.set_yticks(range(len(grid.projections)), grid.projections, fontsize=8)
    ax.set_xticks(range(len(grid.layers)), grid.layers, fontsize=6)
    ax.set_title(f"{grid.stack}: rank by layer, uniform {r_ref}", fontsize=9, loc="left")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _save(figure: Any, path: Path) -> None:
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png")
