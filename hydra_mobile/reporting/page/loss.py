"""The loss of every stage, with rank events and mean ranks below it on the same steps."""

from __future__ import annotations

import math
from html import escape

from hydra_mobile.reporting.formats import DASH
from hydra_mobile.reporting.page.draw import NARROW, WIDE, drawing, line, poly, words
from hydra_mobile.reporting.plots import Curve, curves
from hydra_mobile.reporting.rank_history import maps_in_force, spread_labels, stairs
from hydra_mobile.reporting.ranks import grids
from hydra_mobile.reporting.svg import number
from hydra_mobile.reporting.training_section import LossPoint, RankHistorySection, TrainingSection

STAGES = {"align": "alignment", "stage1": "stage 1", "stage2": "stage 2"}
_GAP = 8.0
_COLORS = ("violet", "teal", "orange")
_DASHES = ("7 3", "none", "2 3")
_SHAPES = {"moved": "m0-7 7 12h-14z", "placed": "m-6-6h12v12h-12z"}
_EVENTS = {"initial": "placed", "allocate": "placed", "move": "moved", "abstain": "kept"}


def loss_drawings(training: TrainingSection) -> str:
    """Return the picture for wide and narrow pages; "" without a finite loss above 0."""
    positive = [p for p in training.loss if p.loss > 0]
    found = [curve for curve in curves(positive) if curve.raw]
    if not found:
        return ""
    return "".join(_Losses(training, found, kind).draw() for kind in ("wide", "narrow"))


class _Losses:
    """One width of the picture.

    Args:
        training: what happened.
        found: its curves, all with finite points above 0.
        kind: "wide" or "narrow".
    """

    def __init__(self, training: TrainingSection, found: list[Curve], kind: str) -> None:
        self._training, self._found, self._kind = training, found, kind
        self._wide = kind == "wide"
        self._width = WIDE if self._wide else NARROW
        self._high = 250.0 if self._wide else 220.0
        self._left, self._top = 40.0, 30.0
        history = training.rank_history
        # One map alone never changed: there is nothing to draw over the steps.
        self._thirds = _thirds(history) if history and len(history.events) > 1 else {}
        self._right = 132.0 if self._wide and self._thirds else 9.0
        values = [v for curve in found for v in curve.smooth]
        values += [
            v for curve in found for v in sorted(curve.raw)[: int(0.985 * len(curve.raw)) + 1]
        ]
        values += [p.loss for p in self._held_out()]
        self._low, self._most = math.log(min(values) * 0.9), math.log(max(values) * 1.05)

    def _held_out(self) -> list[LossPoint]:
        return [p for p in self._training.held_out if math.isfinite(p.loss) and p.loss > 0]

    def _y(self, value: float) -> float:
        share = (self._most - math.log(value)) / (self._most - self._low)
        return self._top + self._high * min(1.0, max(0.0, share))

    def draw(self) -> str:
        """Return the picture."""
        body, x, places = "", self._left, {}
        lengths = [max(1, c.steps[-1] - c.start) for c in self._found]
        least = 62.0
        space = self._width - self._left - self._right - _GAP * (len(self._found) - 1)
        widths = [max(least, space * n / sum(lengths)) for n in lengths]
        widths = [w * space / sum(widths) for w in widths]
        for index, (curve, length, wide) in enumerate(
            zip(self._found, lengths, widths, strict=True)
        ):
            places[curve.stage] = (x, wide / length)
            body += self._stage(curve, x, wide, length, first=not index)
            x += wide + _GAP
        for point in self._held_out():
            if point.stage in places:
                at, scale = places[point.stage]
                body += (
                    f'<circle class="held" cx="{at + point.step * scale:.1f}" '
                    f'cy="{self._y(point.loss):.1f}" r="4.5"><title>step {point.step}: held-out '
                    f"loss {point.loss:.3f}</title></circle>"
                )
        bottom = self._top + self._high + 22
        history = self._training.rank_history
        if history and len(history.events) > 1:
            at, scale = places[self._found[-1].stage]
            end = at + widths[-1]
            lane, bottom = self._lane(history, at, scale, end, bottom + 18)
            body += lane
        ends = "; ".join(
            f"{STAGES.get(c.stage, c.stage)} from {number(c.smooth[0])} to {c.smooth[-1]:.3g}"
            for c in self._found
        )
        size = (self._width, bottom)
        told = f"Smoothed loss: {ends}."
        return drawing(f"loss-{self._kind}", "Loss over the steps", told, size, body, self._kind)

    def _stage(self, curve: Curve, x: float, wide: float, length: int, *, first: bool) -> str:
        body = (
            f'<rect class="band" x="{x:.1f}" y="{self._top}" width="{wide:.1f}" '
            f'height="{self._high}" rx="6"/>'
        )
        name = STAGES.get(curve.stage, curve.stage)
        body += words(x + 2, self._top - 10, name[: max(4, int(wide / 7))], "strong")
        for value in (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16):
            if not self._low < math.log(value) < self._most:
                continue
            y = self._y(value)
            body += line(x, y, x + wide, y, "grid")
            body += words(self._left - 7, y + 4, f"{value:g}", "tick", "end") if first else ""
        scale = wide / length
        stride = max(1, round(len(curve.raw) / (wide / 1.6)))
        for values, kind in ((curve.raw, "raw"), (curve.smooth, "smooth")):
            points = [
                (x + (curve.steps[i] - curve.start) * scale, self._y(values[i]))
                for i in range(0, len(values), stride)
            ]
            body += poly(points, kind)
        return body + words(x + wide, self._top + self._high + 16, f"{length:,}", "tick", "end")

    def _lane(
        self, history: RankHistorySection, x: float, scale: float, end: float, y: float
    ) -> tuple[str, float]:
        """Return events and mean ranks below the last stage, and where they end."""
        low = 110.0 if self._wide else 100.0
        base = y + low + 14
        body = ""
        for event in history.events:
            what, at = _EVENTS.get(event.kind), min(end, x + event.step * scale)
            title = f"<title>step {event.step}, {what}: {escape(event.reason)}</title>"
            if what in _SHAPES:
                kind = "moved" if what == "moved" else "alloc"
                body += line(at, self._top, at, base, "event")
                body += f'<path class="{kind}" d="M{at:.1f} {y:.1f}{_SHAPES[what]}">{title}</path>'
            elif what == "kept":
                radius = 4 if self._wide else 2.2
                body += f'<circle class="kept0" cx="{at:.1f}" cy="{y:.1f}" r="{radius}">{title}'
                body += "</circle>"
        if self._wide and x - self._left > 90:
            body += words(x - 10, y + 5, "rank events", "tick", "end")
            body += words(x - 10, base - low / 2, "mean rank", "tick", "end")
        elif self._thirds:
            body += words(self._left - 34, base - low - 2, "mean rank")
        body += self._mean_ranks(x, scale, end, base, low) + line(x, base, end, base, "base")
        return body, base + 8

    def _mean_ranks(self, x: float, scale: float, end: float, base: float, low: float) -> str:
        if not self._thirds:
            return ""
        most = max(v for points in self._thirds.values() for _, v in points) * 1.08 or 1.0
        last = (end - x) / scale
        ends, body = [], ""
        for points, color, dash in zip(self._thirds.values(), _COLORS, _DASHES, strict=False):
            corners = [
                (x + min(step, last) * scale, base - value * low / most)
                for step, value in stairs(points, round(last))
            ]
            ends.append(corners[-1][1])
            body += f'<g class="c-{color}" stroke-dasharray="{dash}">{poly(corners, "third")}</g>'
        spread = spread_labels(ends, 15.0)
        for (name, points), at in zip(self._thirds.items(), spread, strict=True):
            told = f"{name}: {points[-1][1]:.0f}"
            if self._wide:
                body += words(end + 6, at + 5, told, "tick")
            elif x > 108:
                body += words(x - 6, at + 5, told, "tick", "end")
            else:
                body += words(x + 4, at - 3, told, "halo tick")
        return body


def _thirds(history: RankHistorySection) -> dict[str, list[tuple[int, float]]]:
    """Return the mean rank of each third of the layers from each step on."""
    found: dict[str, list[tuple[int, float]]] = {}
    for at in maps_in_force(history):
        stacks = grids(at.ranks)
        grid = max(stacks, key=lambda g: len(g.cells), default=None)
        if grid is None or len(grid.layers) < 3 or not all(n.isdigit() for n in grid.layers):
            return {}
        count = len(grid.layers)
        for i in range(3):
            own = grid.layers[count * i // 3 : count * (i + 1) // 3]
            name = f"layers {own[0]}{DASH}{own[-1]}" if len(own) > 1 else f"layer {own[0]}"
            ranks = [rank for (layer, _), rank in grid.cells.items() if layer in own]
            found.setdefault(name, []).append((at.step, sum(ranks) / len(ranks)))
    return found
