"""The rank history as inline SVG: the maps in force side by side, and mean ranks over the steps.

Markup for a page, or nothing where ranks never changed, and a file that stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.reporting import svg
from hydra_mobile.reporting.plots import WIDTH, rank_cell, rank_legend
from hydra_mobile.reporting.rank_history import (
    MapInForce,
    last_step,
    maps_in_force,
    mean_ranks,
    panels,
    spread_labels,
    stairs,
)
from hydra_mobile.reporting.ranks import RankGrid, grids
from hydra_mobile.reporting.training_section import RankHistorySection

_LEFT, _GAP = 84.0, 24.0
_HEAD, _FOOT, _LEGEND = 22.0, 30.0, 46.0
COLORS = 7
"""Colors of lines in the style sheet, `line-0` and so on."""


def rank_history_file(history: RankHistorySection, r_ref: int) -> str:
    """Return an SVG document: the maps in force, and mean ranks over the steps once they changed.

    Args:
        history: has at least one map.
        r_ref: the uniform rank, the middle of the colors.

    Raises:
        ArtifactError: the history has no map.
    """
    pictures = _all_panels(maps_in_force(history), r_ref)
    if not pictures:
        raise ArtifactError("The rank history has no map.", "Wait for stage 2 to begin.")
    lines = _lines(history, r_ref)
    return svg.document([*pictures, lines] if lines else pictures)


def _all_panels(maps: Sequence[MapInForce], r_ref: int) -> list[str]:
    if not maps:
        return []
    shown = panels(maps)
    stacks = [grids(at.ranks) for at in shown]
    return [
        _panels([of_map[i] for of_map in stacks], shown, len(maps), r_ref, i)
        for i in range(len(stacks[0]))
    ]


def _panels(
    stack: Sequence[RankGrid], maps: Sequence[MapInForce], of: int, r_ref: int, index: int
) -> str:
    layers, rows = max(len(g.layers) for g in stack), max(len(g.projections) for g in stack)
    # Also where a stack has few layers: the titles need the room.
    half = (WIDTH - _LEFT - _GAP) / 2
    wide = min(30.0, half / layers)
    tall = 15.5
    block = _HEAD + tall * rows + _FOOT
    parts = []
    for i, (grid, at) in enumerate(zip(stack, maps, strict=True)):
        x = _LEFT + (i % 2) * (half + _GAP)
        y = block * (i // 2)
        before = stack[i - 1].cells if i else grid.cells
        parts.append(_panel(grid, at, before, (x, y), (wide, tall), r_ref, i % 2 == 0))
    below = block * ((len(stack) + 1) // 2)
    parts.append(rank_legend(_LEFT, below, r_ref))
    chosen = "" if len(maps) == of else f", {len(maps)} of {of} maps"
    return svg.picture(
        f"rank-history-{index}",
        f"Ranks of {stack[0].stack} over the training",
        "; ".join(at.title for at in maps) + chosen,
        WIDTH,
        below + _LEGEND - 12,
        "".join(parts),
    )


def _panel(
    grid: RankGrid,
    at: MapInForce,
    before: dict[tuple[str, str], int],
    corner: tuple[float, float],
    cell: tuple[float, float],
    r_ref: int,
    named: bool,
) -> str:
    (x, y), (wide, tall) = corner, cell
    parts = [svg.text(x, y + 14, at.title, "label")]
    top = y + _HEAD
    changed = {key for key, rank in grid.cells.items() if before.get(key) != rank}
    # Where nearly all changed, outlines would say nothing.
    outlined = changed if len(changed) < len(grid.cells) / 2 else set()
    for i, projection in enumerate(grid.projections):
        if named:
            middle = top + tall * (i + 0.5) + 4
            parts.append(svg.text(x - 8, middle, projection[-12:], "tick name", "end"))
        for j, layer in enumerate(grid.layers):
            rank = grid.cells.get((layer, projection))
            if rank is not None:
                title = f"step {at.step}, layer {layer} {projection}: rank {rank}"
                mark = "changed" if (layer, projection) in outlined else ""
                place = (x + wide * j, top + tall * i)
                parts.append(rank_cell(place, cell, rank, r_ref, title, True, mark))
    below = top + tall * len(grid.projections) + 13
    numbered = all(layer.isdigit() for layer in grid.layers)
    for j, layer in enumerate(grid.layers):
        if numbered and j % (5 if len(grid.layers) > 12 else 1) == 0:
            parts.append(svg.text(x + wide * (j + 0.5), below, layer, "tick", "middle"))
    if named and numbered:
        parts.append(svg.text(x - 8, below, "layer", "tick", "end"))
    return "".join(parts)


def _lines(history: RankHistorySection, r_ref: int) -> str:
    if len(history.events) < 2:
        return ""
    lines, last = mean_ranks(maps_in_force(history)), last_step(history)
    if not lines:
        return ""
    values = [value for points in lines.values() for _, value in points] + [r_ref]
    margin = max(0.5, 0.08 * (max(values) - min(values)))
    frame = _Frame(last, max(0.0, min(values) - margin), max(values) + margin)
    parts = [*frame.axes(), *_events(history, frame)]
    level, end_x = frame.y(r_ref), frame.x(last)
    parts.append(svg.line(frame.x(0), level, end_x, level, "uniform"))
    ends = spread_labels([frame.y(points[-1][1]) for points in lines.values()], 15)
    for i, ((projection, points), end) in enumerate(zip(lines.items(), ends, strict=True)):
        color = f"line-{i % COLORS}"
        corners = [(frame.x(s), frame.y(v)) for s, v in stairs(points, last)]
        parts.append(svg.path(corners, f"stair {color}"))
        parts.append(svg.text(end_x + 8, end + 4, projection[-12:], color))
    words = "; ".join(
        f"{name} from {points[0][1]:.1f} to {points[-1][1]:.1f}" for name, points in lines.items()
    )
    return svg.picture(
        "rank-lines",
        "Mean rank of each projection over the steps",
        words,
        WIDTH,
        frame.height,
        "".join(parts),
    )


@dataclass(frozen=True)
class _Frame:
    """Steps and ranks to places in the picture of lines."""

    last: int
    low: float
    high: float
    height: float = 310.0
    right: float = WIDTH - 96.0
    top: float = 26.0

    @property
    def bottom(self) -> float:
        return self.height - 40.0

    def x(self, step: float) -> float:
        return _LEFT + (self.right - _LEFT) * step / self.last

    def y(self, rank: float) -> float:
        return self.bottom - (self.bottom - self.top) * (rank - self.low) / (self.high - self.low)

    def axes(self) -> list[str]:
        parts = []
        for value in svg.ticks(self.low, self.high):
            at = self.y(value)
            parts.append(svg.line(_LEFT, at, self.right, at, "grid"))
            parts.append(svg.text(_LEFT - 8, at + 4, f"{value:g}", "tick", "end"))
        for value in (v for v in svg.ticks(0, self.last, 8) if v == int(v)):
            parts.append(svg.text(self.x(value), self.bottom + 20, f"{value:g}", "tick", "middle"))
        parts.append(svg.text(self.right, self.height - 4, "step", "tick", "end"))
        parts.append(svg.text(_LEFT, 12, "mean rank", "tick"))
        return parts


def _events(history: RankHistorySection, frame: _Frame) -> list[str]:
    parts = []
    for event in history.events:
        x = frame.x(event.step)
        if event.kind == "abstain":
            dot = svg.tag("title", escape(f"step {event.step}: {event.reason}"))
            parts.append(svg.tag("circle", dot, cx=x, cy=frame.bottom, r=3.5, class_="abstained"))
        elif event.kind == "freeze":
            parts.append(svg.line(x, frame.top, x, frame.bottom, "cut"))
            parts.append(svg.text(x + 5, frame.top + 4, "frozen from here", "tick"))
        elif event.ranks and event.step:
            parts.append(svg.line(x, frame.top, x, frame.bottom, "moved"))
    return parts
