"""The scores of a report as bars with intervals: what a notebook shows of it."""

from __future__ import annotations

import math
from collections.abc import Callable

from hydra_mobile.reporting import formats, svg
from hydra_mobile.reporting.formats import score_label
from hydra_mobile.reporting.measures import Measure, measures
from hydra_mobile.reporting.results import Score, SystemResult
from hydra_mobile.reporting.schema import Report

_WIDTH, _LEFT, _RIGHT, _ROW, _ABOVE = 1000.0, 200.0, 830.0, 25.0, 7.0
_NAME = 27
_BAR = 11


def _x(share: float) -> float:
    """Return the place of a share in [0, 1] of the scale."""
    inside = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    return _LEFT + (_RIGHT - _LEFT) * inside


def score_bars(report: Report) -> str:
    """Return every system's score with its interval, one panel a number, constants as a line."""
    parts: list[str] = []
    words, y = [], 0.0
    for measure in measures(report):
        scored = [(system, measure.of(system)) for system in report.systems]
        shown = [(system, score) for system, score in scored if score]
        panel, y = _score_panel(measure, shown, y)
        parts += panel
        told = (f"{s.name} {score_label(v.value, v.unit)}" for s, v in shown)
        words.append(f"{measure.title}: {', '.join(told)}")
    if not parts:
        return ""
    title = "Scores and 95% intervals"
    return _picture("score-bars", title, "; ".join(words), y - 14, parts)


def _score_panel(
    measure: Measure, shown: list[tuple[SystemResult, Score]], y: float
) -> tuple[list[str], float]:
    sizes = sorted({score.n for _, score in shown})
    asked = " to ".join(dict.fromkeys(formats.count(size) for size in (sizes[0], sizes[-1])))
    parts = _heading(measure.title, f"{formats.sign_of(measure.unit)}, n {asked}", y)
    majority = max((s.majority for _, s in shown if s.majority is not None), default=None)
    y += 24 if majority is None else 40
    bottom = y + _ROW * len(shown)
    most = max([score.high for _, score in shown] + [majority or 0.0])
    top = 1.0 if measure.unit == "share" else _round_up(most)

    def tick(value: float) -> str:
        return f"{100 * value:.0f}" if measure.unit == "share" else f"{value:,.0f}"

    parts += _scale(0, top, (y, bottom), tick)
    words = []
    for i, (system, score) in enumerate(shown):
        at = y + _ROW * i
        low, high = (score_label(bound, score.unit) for bound in (score.low, score.high))
        between = f"{low}{formats.DASH}{high}"
        label = f"{score_label(score.value, score.unit)}  ({between})"
        ends = (score.value / top, score.low / top, score.high / top)
        parts += _bar(system, ends, at, label)
        words += _words(system, at, label)
    if majority is not None:
        at = _x(majority / top)
        parts.append(svg.line(at, y - 2, at, bottom, "majority"))
        constant = f"constant answer {score_label(majority, measure.unit)}"
        parts.append(svg.text(_inside(at, constant), y - 6, constant, "tick", "middle"))
    return parts + words, bottom + 36


def _picture(name: str, title: str, words: str, height: float, parts: list[str]) -> str:
    return svg.picture(name, title, words, _WIDTH, height, "".join(parts))


def _heading(title: str, detail: str, y: float) -> list[str]:
    head = svg.text(0, y + 13, title, "panel")
    return [head, svg.text(_LEFT, y + 13, detail, "tick")]


def _scale(
    low: float, top: float, ys: tuple[float, float], show: Callable[[float], str]
) -> list[str]:
    parts = []
    for value in svg.ticks(low, top, 4):
        at = _x(value / top)
        parts.append(svg.line(at, ys[0], at, ys[1], "axis" if value == low else "grid"))
        parts.append(_tick(at, ys[1], show(value)))
    return parts


def _tick(at: float, bottom: float, words: str) -> str:
    """Return the figure below a grid line, drawn inward where it would leave the picture."""
    return svg.text(_inside(at, words), bottom + 14, words, "tick", "middle")


def _inside(at: float, words: str) -> float:
    """Return the middle for words near `at` that stay inside the picture."""
    half = 3.7 * len(words)
    return min(max(at, half), _WIDTH - half)


def _words(system: SystemResult, y: float, label: str) -> list[str]:
    name = system.name if len(system.name) <= _NAME else f"{system.name[: _NAME - 1]}…"
    return [
        svg.text(0, y + 17, name, "label"),
        svg.text(_WIDTH, y + 17, label, "value", "end"),
    ]


def _bar(system: SystemResult, ends: tuple[float, float, float], y: float, label: str) -> list[str]:
    middle, low, high = (_x(end) for end in ends)
    top = y + _ABOVE
    wide = middle - _LEFT
    parts = [svg.rect(_LEFT, top, wide, _BAR, f"bar {system.role}", label)]
    return parts + (_whisker(low, high, top + _BAR / 2) if high > low else [])


def _whisker(low: float, high: float, y: float) -> list[str]:
    return [
        svg.line(low, y, high, y, "whisker"),
        *(svg.line(x, y - 4, x, y + 4, "whisker") for x in (low, high)),
    ]


def _round_up(value: float) -> float:
    """Return the next of 1, 1.5, 2, 3, 5, 7.5 times a power of ten; 1 for nothing at all."""
    if not value > 0 or not math.isfinite(value):
        return 0.01
    power = float(10 ** math.floor(math.log10(value)))
    return next(power * m for m in (1, 1.5, 2, 3, 5, 7.5, 10) if power * m >= value * 0.999)
