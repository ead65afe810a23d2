"""Pictures of a training as SVG: loss curve and rank map.

Needs no plotting library, no display and no network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hydra_mobile.reporting import svg
from hydra_mobile.reporting.formats import number
from hydra_mobile.reporting.ranks import STEPS, RankGrid, grids, step_of
from hydra_mobile.reporting.training_section import LossPoint

WIDTH = 1000


# Loss curve


@dataclass(frozen=True)
class Curve:
    """One stage's loss over the steps of the whole training."""

    stage: str
    start: int
    steps: tuple[int, ...]
    raw: tuple[float, ...]
    smooth: tuple[float, ...]


def curves(points: Iterable[LossPoint]) -> list[Curve]:
    """Return the loss by stage, one behind the other; points that are not finite are left out."""
    stages: dict[str, list[LossPoint]] = {}
    for point in points:
        stages.setdefault(point.stage, []).append(point)
    result, start = [], 0
    for stage, those in stages.items():
        finite = sorted((p for p in those if math.isfinite(p.loss)), key=lambda p: p.step)
        raw = tuple(p.loss for p in finite)
        steps = tuple(start + p.step for p in finite)
        result.append(Curve(stage, start, steps, raw, smooth(raw)))
        start += max(p.step for p in those)
    return result


def smooth(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return the centered moving average; the window narrows to half at both ends.

    Centered, because a trailing average runs above a falling loss.
    """
    reach = max(2, len(values) // 24)
    result = []
    for i in range(len(values)):
        near = max(reach // 2, min(reach, i, len(values) - 1 - i))
        window = values[max(0, i - near) : i + near + 1]
        result.append(sum(window) / len(window))
    return tuple(result)


def loss_picture(points: Iterable[LossPoint]) -> str:
    """Return the loss of every stage, raw and smoothed; "" without a finite point."""
    found = curves(points)
    raw = sorted(value for curve in found for value in curve.raw)
    if not raw:
        return ""
    height, left, right, top, bottom = 330.0, 40.0, 4.0, 28.0, 34.0
    # A few spikes must not flatten the rest: they run out of the picture.
    highest = max(
        raw[int(0.985 * (len(raw) - 1))], *(v for c in found for v in c.smooth), raw[0] + 1e-6
    )
    low, high = min(raw[0], 0.9 * raw[0]), highest * 1.03
    last = max(curve.steps[-1] for curve in found if curve.steps) or 1

    def x(step: float) -> float:
        return left + (WIDTH - left - right) * step / last

    def y(value: float) -> float:
        share = (min(value, high) - low) / (high - low)
        return height - bottom - (height - top - bottom) * share

    parts = []
    for value in svg.ticks(low, high):
        parts.append(svg.line(left, y(value), WIDTH - right, y(value), "grid"))
        parts.append(svg.text(left - 8, y(value) + 4, f"{value:g}", "tick", "end"))
    for value in svg.ticks(0, last, 8):
        parts.append(svg.text(x(value), height - bottom + 17, f"{value:g}", "tick", "middle"))
    parts.append(svg.text(WIDTH - right, height - 2, "step", "tick", "end"))
    for curve in found:
        if curve.start:
            parts.append(svg.line(x(curve.start), top - 20, x(curve.start), height - bottom, "cut"))
        parts.append(svg.text(x(curve.start) + 6, top - 12, f"Stage {curve.stage}", "label"))
        steps = [x(step) for step in curve.steps]
        raw_points = list(zip(steps, map(y, curve.raw), strict=True))
        smooth_points = list(zip(steps, map(y, curve.smooth), strict=True))
        parts += [svg.path(raw_points, "raw"), svg.path(smooth_points, "smooth")]
    ends = "; ".join(
        f"stage {c.stage} from {number(c.smooth[0])} to {number(c.smooth[-1])}"
        for c in found
        if c.smooth
    )
    return svg.picture(
        "loss-curve",
        "Loss over the training",
        f"Smoothed loss: {ends}.",
        WIDTH,
        height,
        "".join(parts),
    )


# Rank map


def rank_pictures(rank_map: Mapping[str, int], r_ref: int) -> list[str]:
    """Return one heat map for each stack of layers of a rank map."""
    found = grids(rank_map)
    return [_rank_map(grid, r_ref, i, len(found) > 1) for i, grid in enumerate(found)]


def _rank_map(grid: RankGrid, r_ref: int, index: int, several: bool) -> str:
    left, right, bars, legend = 104.0, 2.0, 62.0, 46.0
    numbered = all(layer.isdigit() for layer in grid.layers)
    left = left if numbered else 200.0
    cell = min(40.0, (WIDTH - left - right) / len(grid.layers))
    row = 26.0
    top = bars + 12
    height = top + row * len(grid.projections) + 22 + legend
    parts = _layer_bars(grid, r_ref, left, cell, bars)
    for i, projection in enumerate(grid.projections):
        middle = top + row * (i + 0.5) + 4
        parts.append(svg.text(left - 8, middle, projection, "tick name", "end"))
        for j, layer in enumerate(grid.layers):
            rank = grid.cells.get((layer, projection))
            if rank is not None:
                at = (left + cell * j, top + row * i)
                title = f"{grid.stack}.{layer} {projection}: rank {rank}"
                parts.append(rank_cell(at, (cell, row), rank, r_ref, title))
    below = top + row * len(grid.projections)
    every = 1 if cell >= 15 or not numbered else 5
    for j, layer in enumerate(grid.layers):
        if j % every == 0:
            middle = left + cell * (j + 0.5)
            parts.append(svg.text(middle, below + 15, layer[-18:], "tick", "middle"))
    parts.append(svg.text(left - 8, below + 15, "layer" if numbered else "", "tick", "end"))
    parts.append(rank_legend(left, below + 34, r_ref))
    ranks = list(grid.cells.values())
    title = f"Ranks of {grid.stack}" if several else "Rank of every adapted module"
    description = (
        f"{len(ranks)} modules, ranks {min(ranks)} to {max(ranks)}, "
        f"{sum(r > r_ref for r in ranks)} above and {sum(r < r_ref for r in ranks)} below the "
        f"uniform rank {r_ref}."
    )
    return svg.picture(f"rank-map-{index}", title, description, WIDTH, height, "".join(parts))


def rank_cell(
    at: tuple[float, float],
    size: tuple[float, float],
    rank: int,
    r_ref: int,
    title: str,
    small: bool = False,
    mark: str = "",
) -> str:
    """Return one cell of a heat map, with its rank where that fits.

    Args:
        at: its left upper corner.
        size: width and height.
        rank: what it shows.
        r_ref: the rank whose color is the middle one.
        title: the tooltip.
        small: whether the figure is small, for cells too narrow for the usual one.
        mark: a further class.
    """
    step = step_of(rank, r_ref)
    kind = "none" if step is None else f"{'m' if step < 0 else 'p'}{abs(step)}" if step else "0"
    (x, y), (width, height) = at, size
    box = svg.rect(x + 0.75, y + 0.75, width - 1.5, height - 1.5, "", title, rx=2)
    # Sizes as in the style sheet; a digit is about 0.6 of its size wide.
    font = 9 if small else 12
    figure = svg.text(x + width / 2, y + height / 2 + font / 3, str(rank), "", "middle")
    fits = width >= (0.6 * font * len(str(rank)) + 2 if small else 15)
    classes = " ".join(filter(None, ("cell", f"rank-{kind}", "small" if small else "", mark)))
    return svg.tag("g", box + (figure if fits else ""), class_=classes)


def _layer_bars(grid: RankGrid, r_ref: int, left: float, cell: float, height: float) -> list[str]:
    means = [grid.mean_of_layer(layer) for layer in grid.layers]
    top = max(*means, r_ref, 1) * 1.1
    parts = [svg.text(left - 8, height / 2 + 4, "mean of layer", "tick", "end")]
    for j, (layer, mean) in enumerate(zip(grid.layers, means, strict=True)):
        tall = height * mean / top
        title = f"layer {layer}: mean rank {mean:.1f}"
        parts.append(
            svg.rect(left + cell * j + 1.5, height - tall, cell - 3, tall, "bar", title, rx=1)
        )
    level = height - height * r_ref / top
    right = left + cell * len(means)
    parts.append(svg.line(left, level, right, level, "uniform"))
    parts.append(svg.text(right, level - 5, f"uniform {r_ref}", "halo tick", "end"))
    return parts


def rank_legend(x: float, y: float, r_ref: int) -> str:
    """Return the key of the colors, 31 high, with its left upper corner at (x, y)."""
    wide, parts = 58.0, []
    shown = [(-STEPS, f"≤ {r_ref / 4:g}"), (-2, f"{r_ref / 2:g}"), (0, f"{r_ref}")]
    shown += [(2, f"{r_ref * 2}"), (STEPS, f"≥ {r_ref * 4}")]
    labels = dict(shown)
    classes = ["rank-none", *(f"rank-m{i}" for i in range(STEPS, 0, -1)), "rank-0"]
    classes += [f"rank-p{i}" for i in range(1, STEPS + 1)]
    for i, name in enumerate(classes):
        swatch = svg.rect(x + wide * i + 0.75, y, wide - 1.5, 9, "", rx=2)
        parts.append(svg.tag("g", swatch, class_=f"swatch {name}"))
        words = "none" if i == 0 else labels.get(i - 1 - STEPS, "")
        words += " uniform" if i == 1 + STEPS else ""
        parts.append(svg.text(x + wide * (i + 0.5), y + 22, words, "tick", "middle"))
    return "".join(parts)
