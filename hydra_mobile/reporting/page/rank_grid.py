"""Where did ranks go, and where do bits hurt? One grid, layer by layer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from hydra_mobile.reporting import tables
from hydra_mobile.reporting.page.draw import NARROW, WIDE, drawing, line, titled, words
from hydra_mobile.reporting.page.marks import figure, fold, number, percent, plural, section
from hydra_mobile.reporting.page.table_html import table_html
from hydra_mobile.reporting.page.view import View, spans
from hydra_mobile.reporting.ranks import RankGrid, grids
from hydra_mobile.reporting.training_section import TrainingSection

#: Projection -> the unit that is rounded with one precision.
_UNITS = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv"),
    **dict.fromkeys(("gate_proj", "up_proj"), "gate_up"),
    "o_proj": "out",
    "down_proj": "down",
}
_STEPS = 6
_MOST_NAMED = 5
#: Correlations weaker than this are called none.
_WEAK = 0.3


@dataclass(frozen=True)
class _Cells:
    """The grid that is drawn: `ranks` and `errors` by (layer, projection)."""

    grid: RankGrid
    r_ref: int
    errors: Mapping[tuple[str, str], float]

    @property
    def worst(self) -> float:
        return max(self.errors.values(), default=0.0) or 1.0

    def mean_rank(self, layer: str) -> float:
        return self.grid.mean_of_layer(layer)

    def mean_error(self, layer: str) -> float | None:
        own = [e for (at, _), e in self.errors.items() if at == layer]
        return statistics.mean(own) if own else None


def rank_section(view: View) -> str:
    """Return the section; "" without a rank map."""
    training = view.report.training
    if training is None or not training.rank_map:
        return ""
    found = grids(training.rank_map)
    exported = next((s for s in view.exports if s is view.ship and s.output_errors), None)
    exported = exported or next((s for s in view.exports if s.output_errors), None)
    figures, answers = "", []
    for index, grid in enumerate(found):
        if not all(layer.isdigit() for layer in grid.layers):
            continue
        errors = _errors(grid, exported.output_errors if exported else {}) if not index else {}
        cells = _Cells(grid, training.r_ref, errors)
        title = "Rank and 4-bit error" if errors else "Rank"
        title += f" of {grid.stack}" if len(found) > 1 else ", module by module"
        figures += figure(title, _note(training, cells), _drawn(cells, index, title), _key(cells))
        answers.append(_answer(cells, exported.name if exported and errors else ""))
    table = tables.ranks_table(training, sparklines=False)
    rest = fold("Ranks by projection", f"{len(table.rows)} rows", table_html(table))
    helped = (
        "Whether the ranks helped is <b>not known from this report</b>: it holds no run with the "
        "same rank everywhere."
    )
    title = "Where did ranks go, and where do bits hurt?" if exported else "Where did ranks go?"
    answer = " ".join([*answers[:1], helped])
    return section("ranks", title, answer, figures, rest)


def _errors(grid: RankGrid, found: Mapping[str, float]) -> dict[tuple[str, str], float]:
    errors = {}
    for layer, projection in grid.cells:
        own = f"layers.{layer}.{_UNITS.get(projection, projection)}"
        # Text models of other classes name every linear by itself, with its path.
        value = found.get(own)
        if value is None:
            ends = (f"layers.{layer}.", f".{projection}")
            alone = (e for n, e in found.items() if ends[0] in n and n.endswith(ends[1]))
            value = next(alone, None)
        if value is not None and math.isfinite(value):
            errors[layer, projection] = value
    return errors


def _answer(cells: _Cells, exported: str) -> str:
    layers = cells.grid.layers
    ranks = {layer: cells.mean_rank(layer) for layer in layers}
    if max(ranks.values()) - min(ranks.values()) < 1e-9:
        text = "Every layer has the same mean rank."
    else:
        highest = sorted(layers, key=lambda n: -ranks[n])[: min(_MOST_NAMED, len(layers) // 2 or 1)]
        text = f"Ranks went to <b>layers {spans([int(n) for n in highest])}</b>."
    hurts = {n: e for n in layers if (e := cells.mean_error(n)) is not None}
    if not hurts:
        return f"{text} No export of this report tells what 4 bits change in each module."
    worst = sorted(hurts, key=lambda n: -hurts[n])[: _MOST_NAMED - 1]
    text += (
        f" 4 bits change most in <b>layers {spans([int(n) for n in worst])}</b> of "
        f"{escape(exported)}."
    )
    pairs = [(float(cells.grid.cells[at]), e) for at, e in cells.errors.items()]
    rho = _spearman(pairs)
    if rho is None:
        return text
    together = "have little to do with each other"
    if abs(rho) > _WEAK:
        together = "go together" if rho > 0 else "avoid each other"
    return f"{text} The two {together} (rank correlation {number(rho, 2, sign=True)})."


def _spearman(pairs: list[tuple[float, float]]) -> float | None:
    """Return the rank correlation; None where one side is constant."""

    def places(values: list[float]) -> list[float]:
        return [sum(o < x for o in values) + (sum(o == x for o in values) - 1) / 2 for x in values]

    try:
        return statistics.correlation(places([a for a, _ in pairs]), places([b for _, b in pairs]))
    except statistics.StatisticsError:
        return None


def _note(training: TrainingSection, cells: _Cells) -> str:
    counts = training.parameters
    note = "Each tile is one module: the stronger the color, the higher its rank."
    if cells.errors:
        note += (
            " The larger the dot, the more rounding to 4 bits changes its output; q, k and v share "
            "one value, as do gate and up. Without a dot: 8 bits."
        )
    return f"{note} {counts.lora:,} of {counts.budget:,} adapter parameters used."


def _key(cells: _Cells) -> str:
    swatches = "".join(
        f'<rect class="r{i}" x="{30 * i}" y="0" width="29" height="14" rx="3"/>'
        + words(30 * i + 14.5, 28, f"{_rank_of(i, cells.r_ref):.0f}", "tick", "middle")
        for i in range(_STEPS + 1)
    )
    key = (
        '<li><span>rank</span><svg class="ranks" width="210" height="32" viewBox="0 0 210 32" '
        f'aria-hidden="true">{swatches}</svg><span>({cells.r_ref} is uniform)</span></li>'
    )
    if cells.errors:
        shown = (cells.worst / 8, cells.worst / 2, cells.worst)
        radii = [10 * math.sqrt(value / cells.worst) for value in shown]
        dots = "".join(
            f'<circle class="hurt" cx="{12 + 26 * i}" cy="12" r="{radius:.1f}"/>'
            for i, radius in enumerate(radii)
        )
        told = ", ".join(percent(value, 1 if value < 0.1 else 0) for value in shown)
        key += (
            '<li><svg width="78" height="24" viewBox="0 0 78 24" aria-hidden="true">'
            f"{dots}</svg><span>change of the output: {told}</span></li>"
        )
    return key


def _rank_of(step: int, r_ref: int) -> float:
    return max(1.0, r_ref * float(2 ** ((step - 4) / 2)))


def _step(rank: int, r_ref: int) -> int:
    """Return the color step of a rank above 0: 4 at the uniform rank, half a doubling a step."""
    return max(0, min(_STEPS, round(2 * math.log2(rank / r_ref)) + 4))


# -- drawing ----------------------------------------------------------------------------------


def _drawn(cells: _Cells, index: int, title: str) -> str:
    grid = cells.grid
    means = ", ".join(f"{cells.mean_rank(layer):.0f}" for layer in grid.layers)
    told = (
        f"{plural(len(grid.layers), 'layer')} of {plural(len(grid.projections), 'module')}. "
        f"Mean rank by layer: {means}."
    )
    if cells.errors:
        errors = (cells.mean_error(layer) for layer in grid.layers)
        shares = ", ".join("8 bits" if e is None else percent(e) for e in errors)
        told += f" Mean change of the output by layer: {shares}."
    wide, tall = _wide(cells)
    narrow, high = _narrow(cells)
    return drawing(f"grid-{index}-wide", title, told, (WIDE, tall), wide, "wide") + drawing(
        f"grid-{index}-narrow", title, told, (NARROW, high), narrow, "narrow"
    )


def _cell(
    cells: _Cells, at: tuple[str, str], box: tuple[float, float, float, float], most: float
) -> str:
    layer, projection = at
    rank = cells.grid.cells.get(at)
    if rank is None:
        return ""
    x, y, w, h = box
    error = cells.errors.get(at)
    kind = f"r{_step(rank, cells.r_ref)}" if rank > 0 else "none"
    tile = (
        f'<rect class="{kind}" x="{x + 1:.1f}" y="{y + 1:.1f}" width="{w - 2:.1f}" '
        f'height="{h - 2:.1f}" rx="4"/>'
    )
    title = f"layer {layer}, {projection}: rank {rank}"
    if error is not None:
        radius = most * math.sqrt(error / cells.worst)
        tile += f'<circle class="hurt" cx="{x + w / 2:.1f}" cy="{y + h / 2:.1f}" r="{radius:.1f}"/>'
        title += f", output changed by {percent(error)} in 4 bits"
    return titled(tile, title)


def _short(projection: str) -> str:
    return projection.removesuffix("_proj")[-12:]


def _wide(cells: _Cells) -> tuple[str, float]:
    grid = cells.grid
    left, top, high, tall = 104.0, 16.0, 58.0, 32.0
    wide = min(64.0, (WIDE - left) / len(grid.layers))
    first, n = top + high + 10, len(grid.projections)
    below = first + n * tall + 24
    right = left + wide * len(grid.layers)
    most_rank = max(*(cells.mean_rank(n_) for n_ in grid.layers), cells.r_ref, 1e-9)
    most_error = max((cells.mean_error(n_) or 0.0 for n_ in grid.layers), default=0.0) or 1.0
    every = 1 if wide >= 18 else 5
    body = words(left - 10, top + high - 4, "mean rank", "tick", "end")
    for i, layer in enumerate(grid.layers):
        x, mean, error = left + wide * i, cells.mean_rank(layer), cells.mean_error(layer)
        up = high * mean / most_rank
        bar = (
            f'<rect class="meanr" x="{x + wide * 0.12:.1f}" y="{top + high - up:.1f}" '
            f'width="{wide * 0.76:.1f}" height="{up:.1f}" rx="2"/>'
        )
        body += titled(bar, f"layer {layer}: mean rank {mean:.1f}")
        if error is not None:
            down = high * error / most_error
            bar = (
                f'<rect class="meane" x="{x + wide * 0.12:.1f}" y="{below:.1f}" '
                f'width="{wide * 0.76:.1f}" height="{down:.1f}" rx="2"/>'
            )
            body += titled(bar, f"layer {layer}: output changed by {percent(error)} on average")
        if i % every == 0:
            body += words(x + wide / 2, below - 7, layer, "tick", "middle")
        for j, projection in enumerate(grid.projections):
            box = (x, first + tall * j, wide, tall)
            body += _cell(cells, (layer, projection), box, min(14.0, wide / 2 - 2))
    y = top + high * (1 - cells.r_ref / most_rank)
    body += line(left, y, right, y, "dash")
    body += words(right, y - 5, f"uniform {cells.r_ref}", "halo tick", "end")
    for j, projection in enumerate(grid.projections):
        body += words(left - 10, first + tall * (j + 0.5) + 5, _short(projection), "tick", "end")
    body += words(left - 10, below - 7, "layer", "tick", "end")
    if not cells.errors:
        return body, below + 4
    return body + words(left - 10, below + 16, "mean change", "tick", "end"), below + high + 4


def _narrow(cells: _Cells) -> tuple[str, float]:
    """Return the grid turned: layers down, projections across."""
    grid = cells.grid
    left, top, tall, bars = 26.0, 22.0, 25.0, 46.0
    wide = min(60.0, (NARROW - left - bars) / len(grid.projections))
    most_rank = max(cells.mean_rank(layer) for layer in grid.layers) or 1.0
    most_error = max((cells.mean_error(layer) or 0.0 for layer in grid.layers), default=0.0) or 1.0
    at = left + wide * len(grid.projections) + 6
    body = words(at + bars - 6, 14, "mean", "tick", "end")
    for j, projection in enumerate(grid.projections):
        body += words(left + wide * (j + 0.5), 14, _short(projection)[:5], "tick", "middle")
    for i, layer in enumerate(grid.layers):
        y = top + tall * i
        body += words(left - 8, y + 17, layer, "tick", "end")
        for j, projection in enumerate(grid.projections):
            box = (left + wide * j, y, wide, tall)
            body += _cell(cells, (layer, projection), box, min(11.0, wide / 2 - 2))
        mean, error = cells.mean_rank(layer), cells.mean_error(layer)
        body += (
            f'<rect class="meanr" x="{at:.1f}" y="{y + 4:.1f}" '
            f'width="{(bars - 8) * mean / most_rank:.1f}" height="8" rx="2"/>'
        )
        if error is not None:
            body += (
                f'<rect class="meane" x="{at:.1f}" y="{y + 13:.1f}" '
                f'width="{(bars - 8) * error / most_error:.1f}" height="8" rx="2"/>'
            )
    return body, top + tall * len(grid.layers) + 4
