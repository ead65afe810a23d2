"""Which one should I ship? Size, score and speed in one picture, a choice, and all side by side."""

from __future__ import annotations

import math
from html import escape

from hydra_mobile.reporting.page.draw import drawing, line, poly, titled, words
from hydra_mobile.reporting.page.marks import (
    NB,
    change,
    figure,
    icon,
    interval,
    number,
    percent,
    score,
    section,
)
from hydra_mobile.reporting.page.side_by_side import side_by_side
from hydra_mobile.reporting.page.table_html import table_html
from hydra_mobile.reporting.page.view import View
from hydra_mobile.reporting.results import Score, SystemResult
from hydra_mobile.reporting.svg import ticks

_MIB = 2**20
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 16.0, 30.0, 42.0
_LONG = 26
#: Area of a circle for each token a second; the largest circle.
_RADIUS, _LARGEST = 2.3, 36.0


def ship(view: View) -> str:
    """Return the section; the choice is left out where nothing was exported."""
    if not view.systems:
        return ""
    side = table_html(side_by_side(view), stack=True)
    if view.ship is None:
        title = "How do they compare?"
        answer = "No exported model was scored, so there is nothing to choose from."
        return section("ship", title, answer, side)
    chosen, own = view.ship, view.score(view.ship)
    assert own is not None
    size = f" in {number(chosen.size_bytes / 1e6)}{NB}MB" if chosen.size_bytes else ""
    answer = f"<b>{escape(chosen.name)}</b>: {score(own.value, own.unit)}{size}."
    if len(view.exports) > 1:
        answer += " Of the exports about as small, it keeps the score best."
    plot = _plot(view)
    card = _choice(view, chosen)
    body = f'<div class="ship">{plot}{card}</div>' if plot else card
    return section("ship", "Which one should I ship?", answer, body, side)


def _choice(view: View, chosen: SystemResult) -> str:
    reasons = []
    move = view.move(chosen)
    if move:
        sign = {"keeps": "check", "open": "ask"}.get(move.judgment, "warn")
        bounds = interval(change(move.low, move.unit), change(move.high, move.unit))
        value = change(move.change, move.unit)
        reasons.append((sign, f"{value} points {bounds} against the trained model"))
    differs = view.differs(chosen)
    if differs is not None:
        text = f"answers differ from the trained model on {percent(differs, 0)} of questions"
        reasons.append(("flip", text))
    if chosen.size_bytes:
        text = f"{number(chosen.size_bytes / 1e6)}{NB}MB on disk"
        if chosen.phone:
            need = number(chosen.phone.needed / _MIB)
            text += f", about {need}{NB}MiB of memory with the app"
        reasons.append(("check", text))
    if chosen not in view.timed:
        reasons.append(("warn", "speed was not measured"))
    elif view.busy:
        reasons.append(("warn", "timed on a busy computer: choose by size and score"))
    elif not view.on_phone:
        reasons.append(("warn", "timed on this computer, not on a phone"))
    surely_worse = view.judgment(chosen) == "loses"
    advice = "The best of these, but it loses score" if surely_worse else "Ship this"
    facts = "".join(f"<li>{icon(sign)}<span>{text}</span></li>" for sign, text in reasons)
    bundle = escape(chosen.artefact or "BUNDLE")
    return (
        f'<div class="pick"><p class="small">{advice}</p><h3>{escape(chosen.name)}</h3>'
        f'<ul>{facts}</ul><p class="try">Talk to it:</p>'
        f"<code>hydra-mobile chat {bundle} --image IMAGE</code></div>"
    )


# -- size against score -----------------------------------------------------------------------


def _plot(view: View) -> str:
    shown = [
        (s, own)
        for s in view.systems
        if s.role != "untrained" and s.size_bytes and (own := view.score(s)) and own.high > own.low
    ]
    if not shown:
        return ""
    doubt = ", outlined because the computer was busy" if view.busy else ""
    speed = f"Circle: the larger, the more tokens a second{doubt}. " if view.timed else ""
    note = (
        f"Bars are 95% intervals of the score. {speed or 'Speed was not measured. '}"
        "Equal sizes stand side by side. Dotted: no smaller model scores higher."
    )
    drawn = "".join(
        _Plot(view, shown, kind, width, height).draw()
        for kind, width, height in (("wide", 700.0, 400.0), ("narrow", 330.0, 340.0))
    )
    return figure("Size, score and speed", note, drawn)


class _Plot:
    """One width of the picture.

    Args:
        view: the page's report.
        shown: rows with a size and a score.
        kind: "wide" or "narrow".
        width: of the picture.
        height: of the picture.
    """

    def __init__(
        self,
        view: View,
        shown: list[tuple[SystemResult, Score]],
        kind: str,
        width: float,
        height: float,
    ) -> None:
        self._view, self._shown, self._kind = view, shown, kind
        self._width, self._height = width, height
        self._unit = shown[0][1].unit
        low, high = min(s.low for _, s in shown), max(s.high for _, s in shown)
        pad = 0.08 * (high - low or 1.0)
        self._low, self._high = low - pad, high + pad
        sizes = [s.size_bytes or 1 for s, _ in shown]
        self._least, self._most = math.log(min(sizes) * 0.62), math.log(max(sizes) * 1.6)

    def _x(self, size: float) -> float:
        share = (math.log(size) - self._least) / (self._most - self._least)
        return _LEFT + (self._width - _LEFT - _RIGHT) * share

    def _y(self, value: float) -> float:
        share = (self._high - value) / (self._high - self._low)
        return _TOP + (self._height - _TOP - _BOTTOM) * share

    def draw(self) -> str:
        """Return the picture."""
        parts = [*self._axes(), self._front()]
        placed = self._placed()
        # Circles below all marks.
        parts += [self._circle(s, x, self._y(own.value)) for s, own, x in placed]
        parts += [self._marked(s, own, x) for s, own, x in placed]
        parts += self._labels(placed)
        told = "; ".join(
            f"{s.name} {number((s.size_bytes or 0) / 1e6)} MB, {score(own.value, self._unit)}"
            for s, own in self._shown
        )
        size = (self._width, self._height)
        name = f"trade-{self._kind}"
        return drawing(name, "Size against score", told, size, "".join(parts), self._kind)

    def _axes(self) -> list[str]:
        parts = []
        scale = 100.0 if self._unit == "share" else 1.0
        for value in ticks(self._low * scale, self._high * scale):
            y = self._y(value / scale)
            parts.append(line(_LEFT, y, self._width - _RIGHT, y, "grid"))
            parts.append(words(_LEFT - 8, y + 4, f"{value:g}", "tick", "end"))
        size = 1e6
        while size < math.exp(self._most):
            if math.exp(self._least) < size:
                at = self._height - _BOTTOM + 20
                parts.append(words(self._x(size), at, f"{size / 1e6:g}", "tick", "middle"))
            size *= 2
        unit = "%" if self._unit == "share" else "points"
        parts.append(words(_LEFT - 34, 14, f"score, {unit}"))
        axis = "size on disk, MB (each step doubles)"
        parts.append(words(self._width - _RIGHT, self._height - 4, axis, "tick", "end"))
        base = self._view.score(self._view.untrained)
        if base and base.value < self._low:
            text = f"↓ untrained base, {score(base.value, base.unit)}"
            parts.append(words(_LEFT + 6, self._height - _BOTTOM - 8, text, "halo tick"))
        return parts

    def _front(self) -> str:
        best, corners = -math.inf, []
        for system, own in sorted(self._shown, key=lambda i: (i[0].size_bytes, -i[1].value)):
            if own.value > best:
                best = own.value
                corners.append((self._x(system.size_bytes or 1), self._y(best)))
        return poly(corners, "front") if len(corners) > 1 else ""

    def _placed(self) -> list[tuple[SystemResult, Score, float]]:
        """Return rows with their place across; equal sizes stand side by side."""
        placed: list[tuple[SystemResult, Score, float]] = []
        for system, own in self._shown:
            x = self._x(system.size_bytes or 1)
            while any(abs(x - other) < 13 for _, _, other in placed):
                x += 14
            placed.append((system, own, min(x, self._width - _RIGHT - 10)))
        return placed

    def _circle(self, system: SystemResult, x: float, y: float) -> str:
        decode = system.timings.decode_tokens_per_second
        if decode is None or system not in self._view.timed:
            return ""
        fastest = max(
            s.timings.decode_tokens_per_second.median
            for s in self._view.timed
            if s.timings.decode_tokens_per_second
        )
        scale = min(_RADIUS, _LARGEST / math.sqrt(max(fastest, 1e-9)))
        kind = "bubble doubt" if self._view.busy else "bubble"
        circle = (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{scale * math.sqrt(decode.median):.1f}" '
            f'class="{kind}"/>'
        )
        told = f"{system.name}: {decode.median:.3g} tokens a second"
        return f'<g class="{self._view.color(system.name)}">{titled(circle, told)}</g>'

    def _marked(self, system: SystemResult, own: Score, x: float) -> str:
        shape, color = self._view.looks[system.name]
        y = self._y(own.value)
        bar = line(x, self._y(own.low), x, self._y(own.high), "whisker")
        return (
            f'<g class="c-{color}">{bar}<svg x="{x - 9:.1f}" y="{y - 9:.1f}" width="18" '
            f'height="18" viewBox="0 0 16 16"><use href="#m-{shape}"/></svg></g>'
        )

    def _labels(self, placed: list[tuple[SystemResult, Score, float]]) -> list[str]:
        """Return names where there is room; the chosen and the trained one first."""
        first = (self._view.ship, self._view.reference)
        bottom = self._height - _BOTTOM
        boxes = [(_LEFT, _LEFT + 160.0, bottom - 13.0)]
        bars = [(x, self._y(own.high), self._y(own.low)) for _, own, x in placed]
        labels = []
        for system, own, x in sorted(placed, key=lambda i: i[0] not in first):
            name = system.name if len(system.name) <= _LONG else f"{system.name[: _LONG - 1]}…"
            wide, y = 7.2 * len(name), self._y(own.value)
            spots = [(x - wide / 2, self._y(own.high) - 12), (x - wide / 2, self._y(own.low) + 13)]
            beside = (x + 14, x - 14 - wide)
            spots += [(left, y + shift) for shift in (0, 18, -18, 36, -36) for left in beside]
            for left, middle in spots:
                right = left + wide
                free = left > _LEFT - 6 and right < self._width and _TOP < middle + 8 < bottom
                free &= all(
                    left > r + 4 or right < a - 4 or abs(middle - m) > 15 for a, r, m in boxes
                )
                free &= all(
                    not left - 4 < at < right + 4 or top - 8 > middle or end + 8 < middle
                    for at, top, end in bars
                )
                if free:
                    boxes.append((left, right, middle))
                    labels.append(words(left + wide / 2, middle + 5, name, "halo strong", "middle"))
                    break
        return labels
