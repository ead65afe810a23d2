"""The first screen: the verdict in a sentence and four large numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from hydra_mobile.reporting.page.marks import (
    LOGO,
    NB,
    bare,
    change,
    interval,
    number,
    percent,
    plural,
    score,
)
from hydra_mobile.reporting.page.view import Move, View
from hydra_mobile.reporting.results import Score
from hydra_mobile.reporting.verdicts import findings

_MIB = 2**20
_MOST_WARNINGS, _MOST_LOSSES, _MOST_NUMBERS = 2, 2, 4


@dataclass(frozen=True)
class _Number:
    """A large number; texts are markup."""

    value: str
    unit: str
    title: str
    detail: str
    weak: bool = False

    def html(self) -> str:
        kind = ' class="weak"' if self.weak else ""
        return (
            f'<div{kind}><dt>{self.title}</dt><dd class="v">{self.value}'
            f'<small>{self.unit}</small></dd><dd class="d">{self.detail}</dd></div>'
        )


def hero(view: View) -> str:
    """Return the header of the page."""
    report = view.report
    numbers = [*_numbers(view)][:_MOST_NUMBERS]
    big = f'<dl class="big">{"".join(n.html() for n in numbers)}</dl>' if numbers else ""
    asked = f"{view.questions:,} questions" if view.questions else ""
    day = report.created.partition("T")[0]
    about = " \u00b7 ".join(filter(None, (report.title, asked, day)))
    more = " ".join(_more(view))
    told = f'<p class="more">{more}</p>' if more else ""
    return (
        f'<header class="hero"><div class="mark" aria-hidden="true">{LOGO}</div>'
        f'<div class="brand">{LOGO}hydra-mobile <span>{escape(about)}</span></div>'
        f"<h1>{verdict(view)}</h1>{told}{big}</header>"
    )


def verdict(view: View) -> str:
    """Return the whole report in one or two sentences, as markup."""
    lead, after = view.lead, view.score(view.reference)
    if lead is None:
        return escape(view.report.title)
    name = escape(view.title(lead))
    if after is None:
        scored = [(s, found) for s in view.systems if (found := view.score(s))]
        if not scored:
            return escape(view.report.title)
        system, first = scored[0]
        return f"{escape(system.name)} scores {score(first.value, first.unit)} on {name}."
    return f"{_training(view, name, after)}{_shipping(view)}"


def _training(view: View, name: str, after: Score) -> str:
    now = score(after.value, after.unit)
    before = view.score(view.untrained)
    if before is None:
        return f"The trained model scores {now} on {name}."
    then = score(before.value, before.unit)
    helped = view.gain.low > 0 if view.gain else after.low > before.high
    if helped:
        return f"Training lifted the score on {name} from {then} to {now}."
    return f"Training did not clearly help on {name}: {now}, {then} before."


def _shipping(view: View) -> str:
    ship = view.ship
    own = view.score(ship)
    if ship is None or own is None:
        return ""
    gain, move = view.gain, view.move(ship)
    size = f", in {number(ship.size_bytes / 1e6)}{NB}MB" if ship.size_bytes else ""
    if gain is None or move is None or gain.low <= 0:
        return f" {escape(ship.name)} scores {score(own.value, own.unit)}{size}."
    if move.change >= 0:
        return f" {escape(ship.name)} keeps all of it{size}."
    left = change(gain.change + move.change, gain.unit).lstrip("+")
    whole = change(gain.change, gain.unit).lstrip("+")
    return f" {escape(ship.name)} keeps {left} of those {whole} points{size}."


def _bounds(move: Move) -> str:
    return interval(change(move.low, move.unit), change(move.high, move.unit))


def _numbers(view: View) -> Iterator[_Number]:
    gain, ship, after = view.gain, view.ship, view.score(view.reference)
    if gain:
        value = change(gain.change, gain.unit)
        yield _Number(value, "points", "Gained by training", f"95% interval {_bounds(gain)}")
    if after and (gain is None or ship is None):
        bounds = interval(bare(after.low, after.unit), bare(after.high, after.unit))
        sign = "%" if after.unit == "share" else "points"
        title = "Score of the trained model"
        yield _Number(bare(after.value, after.unit), sign, title, f"95% interval {bounds}")
    if ship is None:
        return
    own, move = view.score(ship), view.move(ship)
    if move and own:
        detail = f"{score(own.value, own.unit)}, 95% interval {_bounds(move)}"
        title = f"Change in {escape(ship.name)}"
        yield _Number(change(move.change, move.unit), "points", title, detail)
    if ship.size_bytes:
        whole = view.reference.size_bytes if view.reference else None
        detail = f"{whole / ship.size_bytes:.1f} times smaller than torch" if whole else "on disk"
        yield _Number(number(ship.size_bytes / 1e6), "MB", "To download", detail)
    first = ship.timings.first_token
    if first and view.on_phone:
        yield _Number(f"{first.median:.2f}", "s", "To the first word", "median")
    elif first:
        detail = "image and question, on this computer"
        doubt = "not reliable: the computer was busy"
        weak = bool(view.busy)
        value = f"{first.median:.2f}"
        yield _Number(value, "s", "To the first word", doubt if weak else detail, weak)
    if ship.phone:
        value = number(ship.phone.needed / _MIB)
        yield _Number(value, "MiB", "Memory on a phone", "estimated, with the app around it")


def _more(view: View) -> Iterator[str]:
    """Yield what must be known beside the verdict."""
    ship = view.ship
    move = view.move(ship) if ship else None
    if ship and move and move.judgment == "open":
        low, high = change(move.low, move.unit), change(move.high, move.unit)
        n = plural(view.questions, "question") if view.questions else "These questions"
        yield (
            f"The change in {escape(ship.name)} may be chance: {n} leave anything from {low} to "
            f"{high} points open."
        )
    lost = [s for s in view.exports if s is not ship and view.judgment(s) == "loses"]
    for system in lost[:_MOST_LOSSES]:
        own = view.move(system)
        if own:
            value = change(-own.change, own.unit).lstrip("+")
            yield f"{escape(system.name)} loses {value} points {_bounds(own)}."
    if ship is None and (differs := [s for s in view.exports if view.differs(s)]):
        system = differs[0]
        share = percent(view.differs(system) or 0, 0)
        yield f"{escape(system.name)} answers differ from the trained model on {share}."
    warnings = [f for f in findings(view.report) if f.status == "warning"]
    for warning in warnings[:_MOST_WARNINGS]:
        yield f"{escape(warning.claim)}."
    failed = [f for f in findings(view.report) if f.status == "fail" and "match" in f.claim]
    for fail in failed:
        yield f"Parity fails: {escape(fail.evidence)}."
    if view.exports and not view.on_phone:
        yield "No phone has run it yet."
