"""The report's bar pictures as inline SVG: scores, changes, speed. Each for wide and narrow pages.

A bar chart that is merely shrunk cannot be read on a phone, so that each is drawn twice and the
page shows the one that fits. Each function takes a `Report` and a `Layout` and returns markup, or
"" when the report lacks the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hydra_mobile.reporting import formats, svg
from hydra_mobile.reporting.formats import milliseconds, number, score_label
from hydra_mobile.reporting.measures import Measure, measures
from hydra_mobile.reporting.schema import Report, Score, ScoreChange, SystemResult


@dataclass(frozen=True)
class Layout:
    """Where things stand in a bar picture.

    Attributes:
        name: "wide" or "narrow"; part of the picture's name and the class that the page shows.
        width: of the picture.
        left: where bars begin.
        right: where the longest bar ends.
        row: height of a system's row.
        bar: the bar's distance from the top of its row.
        stacked: whether name and value stand above the bar; beside it otherwise.
    """

    name: str
    width: float
    left: float
    right: float
    row: float
    bar: float
    stacked: bool

    def x(self, share: float) -> float:
        """Return the place of a share in [0, 1] of the scale."""
        inside = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
        return self.left + (self.right - self.left) * inside


WIDE = Layout("wide", 1000, 200, 830, 25, 7, False)
NARROW = Layout("narrow", 340, 2, 332, 40, 22, True)
LAYOUTS = (WIDE, NARROW)

_NAME = 27
_BAR = 11


def score_bars(report: Report, layout: Layout) -> str:
    """Return every system's score with its interval, one panel a number, constants as a line."""
    parts: list[str] = []
    words, y = [], 0.0
    for measure in measures(report):
        scored = [(system, measure.of(system)) for system in report.systems]
        shown = [(system, score) for system, score in scored if score]
        panel, y = _score_panel(measure, shown, layout, y)
        parts += panel
        told = (f"{s.name} {score_label(v.value, v.unit)}" for s, v in shown)
        words.append(f"{measure.title}: {', '.join(told)}")
    if not parts:
        return ""
    title = "Scores and 95 % intervals"
    return _picture("score-bars", title, "; ".join(words), layout, y - 14, parts)


def _score_panel(
    measure: Measure, shown: list[tuple[SystemResult, Score]], layout: Layout, y: float
) -> tuple[list[str], float]:
    sizes = sorted({score.n for _, score in shown})
    asked = " to ".join(dict.fromkeys(formats.count(size) for size in (sizes[0], sizes[-1])))
    parts = _heading(measure.title, f"{formats.sign_of(measure.unit)}, n {asked}", layout, y)
    majority = max((s.majority for _, s in shown if s.majority is not None), default=None)
    y += 24 if majority is None else 40
    bottom = y + layout.row * len(shown)
    most = max([score.high for _, score in shown] + [majority or 0.0])
    top = 1.0 if measure.unit == "share" else _round_up(most)

    def tick(value: float) -> str:
        return f"{100 * value:.0f}" if measure.unit == "share" else f"{value:,.0f}"

    parts += _scale(0, top, (y, bottom), layout, tick)
    words = []
    for i, (system, score) in enumerate(shown):
        at = y + layout.row * i
        low, high = (score_label(bound, score.unit) for bound in (score.low, score.high))
        between = f"{low}{formats.DASH}{high}"
        label = f"{score_label(score.value, score.unit)}  ({between})"
        ends = (score.value / top, score.low / top, score.high / top)
        parts += _bar(system, ends, at, label, layout)
        words += _words(system, at, label, layout)
    if majority is not None:
        at = layout.x(majority / top)
        parts.append(svg.line(at, y - 2, at, bottom, "majority"))
        constant = f"constant answer {score_label(majority, measure.unit)}"
        parts.append(svg.text(_inside(at, constant, layout), y - 6, constant, "tick", "middle"))
    # The words come last: in a narrow picture the line of the constant runs behind them.
    return parts + words, bottom + 36


def change_bars(report: Report, layout: Layout) -> str:
    """Return the change of every headline against the reference, with its paired interval."""
    systems = {system.name: system for system in report.systems}
    parts: list[str] = []
    words, y = [], 0.0
    found = [(c, c.headline) for c in report.comparisons if c.system in systems]
    moves = [(c, move) for c, move in found if move]
    for benchmark in dict.fromkeys(c.benchmark for c, _ in moves):
        own = [(systems[c.system], move) for c, move in moves if c.benchmark == benchmark]
        unit = own[0][1].unit
        # One scale for all shares: a point of POPE is as long as a point of GQA.
        alike = [move for _, move in moves if move.unit == unit]
        reach = _round_up(max(max(abs(m.low), abs(m.high), abs(m.change)) for m in alike))
        panel, y = _change_panel(report.title_of(benchmark), own, reach, layout, y)
        parts += panel
        told = (f"{s.name} {formats.change(m.change, m.unit)}" for s, m in own)
        words.append(f"{report.title_of(benchmark)}: {', '.join(told)}")
    if not parts:
        return ""
    title = "Change against the reference, paired 95 % intervals"
    return _picture("change-bars", title, "; ".join(words), layout, y - 14, parts)


def _change_panel(
    title: str,
    shown: list[tuple[SystemResult, ScoreChange]],
    reach: float,
    layout: Layout,
    y: float,
) -> tuple[list[str], float]:
    unit = shown[0][1].unit
    what = "points of 100" if unit == "share" else "points"
    parts = _heading(title, what, layout, y)
    y += 24
    bottom = y + layout.row * len(shown)

    def place(value: float) -> float:
        return layout.x((value + reach) / (2 * reach))

    for value in svg.ticks(-reach, reach, 4):
        kind = "axis" if value == 0 else "grid"
        parts.append(svg.line(place(value), y, place(value), bottom, kind))
        told = f"{100 * value if unit == 'share' else value:+g}".replace("-", "\u2212")
        parts.append(_tick(place(value), bottom, told if value else "0", layout))
    for i, (system, move) in enumerate(shown):
        at = y + layout.row * i
        between = formats.change_interval(move.low, move.high, unit)
        label = f"{formats.change(move.change, unit)}  ({between})"
        middle = at + layout.bar + _BAR / 2
        parts += _words(system, at, label, layout)
        parts += _whisker(place(move.low), place(move.high), middle)
        parts.append(svg.dot(place(move.change), middle, 4.5, f"dot {system.role}", label))
    return parts, bottom + 36


def decode_bars(report: Report, layout: Layout) -> str:
    """Return every system's decode speed, median with quartiles."""
    timed = [(s, s.timings.decode_tokens_per_second) for s in report.systems]
    shown = [(system, spread) for system, spread in timed if spread]
    if not shown:
        return ""
    top = max(spread.p75 for _, spread in shown) or 1.0
    bottom = layout.row * len(shown)
    parts = _scale(0, top, (0, bottom), layout, lambda v: f"{v:g}")
    parts.append(svg.text(layout.width, bottom + 30, "tokens/s", "tick", "end"))
    for i, (system, spread) in enumerate(shown):
        ends = (spread.median / top, spread.p25 / top, spread.p75 / top)
        parts += _bar(system, ends, layout.row * i, number(spread.median), layout)
        parts += _words(system, layout.row * i, number(spread.median), layout)
    words = ", ".join(f"{s.name} {number(v.median)} tokens/s" for s, v in shown)
    return _picture("decode-bars", "Decode speed", words, layout, bottom + 34, parts)


def first_token_bars(report: Report, layout: Layout) -> str:
    """Return the time to the first token of every system, split into encode and the rest."""
    shown = [(s, s.timings.first_token, s.timings.encode) for s in report.systems]
    timed = [(s, first.median, encode.median) for s, first, encode in shown if first and encode]
    if not timed:
        return ""
    top = max(first for _, first, _ in timed) or 1.0
    bottom = layout.row * len(timed)
    parts = _scale(0, top, (0, bottom), layout, milliseconds)
    parts.append(svg.text(layout.width, bottom + 30, "ms", "tick", "end"))
    for i, (system, first, encode) in enumerate(timed):
        y, cut = layout.row * i, min(encode, first)
        label = f"{milliseconds(first)}  ({milliseconds(cut)} + {milliseconds(first - cut)})"
        parts += _words(system, y, label, layout)
        x, at = layout.x(cut / top), y + layout.bar
        title = f"{system.name}: encode"
        parts.append(svg.rect(layout.left, at, x - layout.left, _BAR, "part-encode", title))
        title = f"{system.name}: prefill and first token"
        parts.append(svg.rect(x, at, layout.x(first / top) - x, _BAR, "part-prefill", title))
    words = ", ".join(f"{s.name} {milliseconds(first)} ms" for s, first, _ in timed)
    title = "Time to the first token"
    return _picture("first-token-bars", title, words, layout, bottom + 34, parts)


def _picture(
    name: str, title: str, words: str, layout: Layout, height: float, parts: list[str]
) -> str:
    whole = svg.picture(f"{name}-{layout.name}", title, words, layout.width, height, "".join(parts))
    return svg.tag("div", whole, class_=layout.name)


def _heading(title: str, detail: str, layout: Layout, y: float) -> list[str]:
    head = svg.text(0, y + 13, title, "panel")
    if layout.stacked:
        return [head, svg.text(layout.width, y + 13, detail, "tick", "end")]
    return [head, svg.text(layout.left, y + 13, detail, "tick")]


def _scale(
    low: float, top: float, ys: tuple[float, float], layout: Layout, show: Callable[[float], str]
) -> list[str]:
    parts = []
    for value in svg.ticks(low, top, 4):
        at = layout.x(value / top)
        parts.append(svg.line(at, ys[0], at, ys[1], "axis" if value == low else "grid"))
        parts.append(_tick(at, ys[1], show(value), layout))
    return parts


def _tick(at: float, bottom: float, words: str, layout: Layout) -> str:
    """Return the figure below a grid line, drawn inward where it would leave the picture."""
    return svg.text(_inside(at, words, layout), bottom + 14, words, "tick", "middle")


def _inside(at: float, words: str, layout: Layout) -> float:
    """Return the middle for words near `at` that stay inside the picture."""
    half = 3.7 * len(words)
    return min(max(at, half), layout.width - half)


def _words(system: SystemResult, y: float, label: str, layout: Layout) -> list[str]:
    name = system.name if len(system.name) <= _NAME else f"{system.name[: _NAME - 1]}…"
    line = y + (16 if layout.stacked else 17)
    # A halo, because grid lines run behind the words of a narrow picture.
    mark = "label halo" if layout.stacked else "label"
    value = "value halo" if layout.stacked else "value"
    return [
        svg.text(layout.left + 5 if layout.stacked else 0, line, name, mark),
        svg.text(layout.width, line, label, value, "end"),
    ]


def _bar(
    system: SystemResult, ends: tuple[float, float, float], y: float, label: str, layout: Layout
) -> list[str]:
    middle, low, high = (layout.x(end) for end in ends)
    top = y + layout.bar
    wide = middle - layout.left
    parts = [svg.rect(layout.left, top, wide, _BAR, f"bar {system.role}", label)]
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
