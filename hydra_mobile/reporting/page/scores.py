"""Did training help, and did the phone version keep it?"""

from __future__ import annotations

import math
from html import escape

from hydra_mobile.reporting import benchmark_tables
from hydra_mobile.reporting.evidence import Outcomes
from hydra_mobile.reporting.measures import Measure
from hydra_mobile.reporting.page.draw import drawing
from hydra_mobile.reporting.page.marks import (
    bare,
    change,
    figure,
    fold,
    interval,
    number,
    score,
    section,
)
from hydra_mobile.reporting.page.table_html import table_html
from hydra_mobile.reporting.page.view import View
from hydra_mobile.reporting.results import Score

OUTCOMES = (
    ("kept", "right before and after"),
    ("learned", "learned, and kept in the export"),
    ("broken", "right after training, wrong in the export"),
    ("lucky", "wrong after training, right in the export"),
    ("unlearned", "right only before training"),
    ("never", "wrong in all three"),
)
#: In a cell of 10 by 10, from its left upper corner.
_SHAPES = {
    "kept": "h8v8h-8z",
    "learned": "m4-.3 4.3 8.3h-8.6z",
    "broken": "m4-1 5 5-5 5-5-5z",
    "lucky": "m1 1h6v6h-6z",
    "unlearned": "m1 1l6 6m0-6l-6 6",
    "never": "m2.5 2.5h3v3h-3z",
}
_MOST_MARKS = 1000
_CELL = 13
_WORDS = {
    "keeps": "keeps the score",
    "open": "is too close to call",
    "loses": "lost some",
    "unknown": "was not compared",
}
_MOST_PANELS, _MOST_NAMED = 6, 3


def scores(view: View) -> str:
    """Return the section; "" without a score."""
    shown = [m for m in view.shown if any(m.of(s) for s in view.systems)]
    if not shown:
        return ""
    panels = "".join(_panel(view, measure) for measure in shown[:_MOST_PANELS])
    body = [_wall(view), f'<div class="two">{panels}</div>', *_folds(view)]
    title = "Did training help, and did the phone version keep it?"
    return section("scores", title, _answer(view), *body)


def _answer(view: View) -> str:
    parts = []
    before, after = view.score(view.untrained), view.score(view.reference)
    if gain := view.gain:
        yes = "Yes" if gain.low > 0 else "Not clearly"
        bounds = interval(change(gain.low, gain.unit), change(gain.high, gain.unit))
        value = change(gain.change, gain.unit)
        parts.append(f"<b>{yes}: {value} points</b> {bounds} over the untrained base.")
    elif before and after:
        yes = "Yes" if after.low > before.high else "Not clearly"
        values = (score(s.value, s.unit) for s in (after, before))
        parts.append(f"<b>{yes}: {' after, '.join(values)} before training.</b>")
    # What is exact says the least.
    exports = sorted(view.exports, key=lambda s: view.differs(s) == 0)
    for system in exports[:_MOST_NAMED]:
        if move := view.move(system):
            bounds = interval(change(move.low, move.unit), change(move.high, move.unit))
            value = change(move.change, move.unit)
            words = _WORDS[view.judgment(system)]
            parts.append(f"{escape(system.name)} {words}: {value} {bounds}.")
    if not parts:
        return (
            "Nothing here can be compared: evaluate the untrained base, the trained model and "
            "an exported bundle together."
        )
    return " ".join(parts)


def _wall(view: View) -> str:
    """Return every question as one small shape, sorted by what became of it."""
    questions, ship = view.report.questions, view.ship
    found = [o for o in questions.outcomes if ship and o.export == ship.name] if questions else []
    if not found or not found[0].total:
        return ""
    outcomes = found[0]
    each = math.ceil(outcomes.total / _MOST_MARKS)
    order = [n for n, _ in OUTCOMES for _ in range(int(getattr(outcomes, n)))][::each]
    told = "; ".join(f"{getattr(outcomes, name)} {words}" for name, words in OUTCOMES)
    drawn = "".join(
        _marks(order, outcomes, kind, told, columns)
        for kind, columns in (("wide", 52), ("narrow", 26))
    )
    legend = "".join(
        f'<li><svg viewBox="0 0 12 12" aria-hidden="true"><path class="w-{name}" '
        f'd="M2 2{_SHAPES[name]}"/></svg><b>{getattr(outcomes, name):,}</b>'
        f"<span>{words}</span></li>"
        for name, words in OUTCOMES
    )
    many = "one mark each" if each == 1 else f"one mark for {each}"
    note = f"Before training, after it, and in {escape(outcomes.export)}."
    body = f'<div class="wall"><div>{drawn}</div><ul class="legend">{legend}</ul></div>'
    return figure(f"{outcomes.total:,} questions, {many}", note, body)


def _marks(order: list[str], outcomes: Outcomes, kind: str, told: str, columns: int) -> str:
    rows = math.ceil(len(order) / columns)
    paths: dict[str, str] = {}
    for i, name in enumerate(order):
        # Down first where it is wide, so that the groups stand side by side.
        x, y = (i // rows, i % rows) if kind == "wide" else (i % columns, i // columns)
        paths[name] = paths.get(name, "") + f"M{_CELL * x + 2} {_CELL * y + 2}{_SHAPES[name]}"
    words = dict(OUTCOMES)
    body = "".join(
        f'<path class="w-{name}" d="{d}"><title>{getattr(outcomes, name):,} questions: '
        f"{words[name]}</title></path>"
        for name, d in paths.items()
    )
    size = (_CELL * columns, _CELL * rows)
    return drawing(f"wall-{kind}", "Every question", told, size, body, kind)


def _panel(view: View, measure: Measure) -> str:
    found = [(s, score_) for s in view.systems if (score_ := measure.of(s))]
    finite = [(s, score_) for s, score_ in found if _finite(score_)]
    unit = found[0][1].unit
    most = 1.0 if unit == "share" else max((s.high for _, s in finite), default=1.0) * 1.05
    fixed = next((s.majority for _, s in found if s.majority is not None), None)
    rows = ""
    for system, own in found:
        rows += (
            f'<tr><th scope="row" class="who">{view.named(system.name)}</th>'
            f'<td class="lines"><span class="track" aria-hidden="true">'
            f"{_track(view, system.name, own, most, fixed)}</span></td>"
            f'<td class="val">{score(own.value, unit)}'
            f"<small>{interval(bare(own.low, unit), bare(own.high, unit))}</small></td></tr>"
        )
    ticks = "".join(
        f'<span style="left:{25 * i}%">{number(most * i / 4 * (100 if unit == "share" else 1))}'
        "</span>"
        for i in range(5)
    )
    rows += (
        f'<tr aria-hidden="true"><td></td><td><span class="axis">{ticks}</span></td><td></td></tr>'
    )
    n = max(own.n for _, own in found)
    note = f"{n:,} questions."
    if fixed is not None:
        note += f" One fixed answer would get {score(fixed, unit)} (dashed)."
    title = view.title(measure)
    return figure(title, note, f'<table class="rows forest"><tbody>{rows}</tbody></table>')


def _finite(own: Score) -> bool:
    return all(map(math.isfinite, (own.value, own.low, own.high)))


def _track(view: View, name: str, own: Score, most: float, fixed: float | None) -> str:
    parts = ""
    if _finite(own) and most > 0:
        left, width = (100 * max(0.0, v) / most for v in (own.low, own.high - own.low))
        at = 100 * max(0.0, own.value) / most
        parts = (
            f'<i class="ci {view.color(name)}" style="left:{left:.1f}%;width:{width:.1f}%"></i>'
            f"{view.mark(name, f'left:{at:.1f}%')}"
        )
    if fixed is not None and most > 0:
        parts += f'<i class="always" style="left:{100 * fixed / most:.1f}%"></i>'
    return parts


def _folds(view: View) -> list[str]:
    report, found = view.report, []
    kinds = benchmark_tables.kinds_table(report)
    if kinds.rows:
        found.append(fold(kinds.title, f"{len(kinds.rows)} parts", table_html(kinds)))
    if report.comparisons:
        changes = benchmark_tables.changes_table(report)
        found.append(fold(changes.title, f"{len(changes.rows)} numbers", table_html(changes)))
    if any(system.runs for system in view.systems):
        results = benchmark_tables.results_table(report)
        note = (
            "Timings and memory are those of the benchmark's own run where it has them, else of "
            "the speed measurement. In runner: share of the answering time inside the runtime. "
            "Small figures are 95% intervals, of changes the paired ones."
        )
        rows = f"{len(results.rows)} rows"
        found.append(fold(results.title, rows, table_html(results, notes=[note])))
    return found
