"""What all sections of the page ask of a report: roles, the leading number, what to ship."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from hydra_mobile.reporting.measures import Measure, measures
from hydra_mobile.reporting.page.marks import icon, percent
from hydra_mobile.reporting.results import Comparison, Score, ScoreChange, SystemResult
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.verdicts import LOSS_BOUND, busy

Judgment = Literal["keeps", "open", "loses", "unknown"]
"""Of an export: it surely loses no more than the bound; the interval does not decide; it surely
loses something; it was not compared."""

_ORDER: tuple[Judgment, ...] = ("keeps", "open", "unknown", "loses")
#: Exports within this factor of the smallest are as small.
_SIZE_SLACK = 1.25
_MOST_DIFFERING = 3
#: Shape and color of the third row and of those after it; twelve rows differ.
_LOOKS = (
    *(("diamond", "blue"), ("square", "orange"), ("triangle", "violet"), ("cross", "gray")),
    *(("diamond", "orange"), ("square", "violet"), ("triangle", "blue"), ("cross", "orange")),
    *(("diamond", "violet"), ("square", "blue"), ("triangle", "orange"), ("cross", "violet")),
)


@dataclass(frozen=True)
class Move:
    """A change of score with its interval; `unit` as of scores."""

    change: float
    low: float
    high: float
    unit: str

    @property
    def judgment(self) -> Judgment:
        """What the interval says of it as a loss."""
        if self.low >= -LOSS_BOUND["share" if self.unit == "share" else "points"]:
            return "keeps"
        return "loses" if self.high < 0 else "open"

    @property
    def reversed(self) -> Move:
        """The change in the other direction."""
        return Move(-self.change, -self.high, -self.low, self.unit)


@dataclass(frozen=True)
class View:
    """A report as the page reads it."""

    report: Report

    @property
    def systems(self) -> tuple[SystemResult, ...]:
        """All rows."""
        return self.report.systems

    @functools.cached_property
    def shown(self) -> list[Measure]:
        """The numbers that stand for the benchmarks, the leading one first."""
        found = measures(self.report)
        return sorted(found, key=lambda measure: not measure.headline)

    @property
    def lead(self) -> Measure | None:
        """The number that the verdict is about."""
        return self.shown[0] if self.shown else None

    @property
    def reference(self) -> SystemResult | None:
        """The trained row."""
        return self.report.reference

    @property
    def untrained(self) -> SystemResult | None:
        """The row before training."""
        return next((s for s in self.systems if s.role == "untrained"), None)

    @property
    def exports(self) -> list[SystemResult]:
        """The exported rows."""
        return [s for s in self.systems if s.role == "export"]

    def score(self, system: SystemResult | None) -> Score | None:
        """Return a row's leading number."""
        found = self.lead.of(system) if self.lead and system else None
        return found if found and math.isfinite(found.value) else None

    @functools.cached_property
    def gain(self) -> Move | None:
        """What training gained of the leading number, paired; None where it is not known."""
        base, lead = self.untrained, self.lead
        if base is None or lead is None:
            return None
        comparison = self.report.comparison(lead.benchmark, base.name)
        move = _move(comparison, lead)
        return move.reversed if move else None

    def move(self, system: SystemResult) -> Move | None:
        """Return a row's change of the leading number against the trained row."""
        if self.lead is None:
            return None
        return _move(self.report.comparison(self.lead.benchmark, system.name), self.lead)

    def judgment(self, system: SystemResult) -> Judgment:
        """Return the worst of a row's judgments over all benchmarks."""
        found: list[Judgment] = []
        for comparison in self.report.comparisons:
            if comparison.system == system.name and (move := comparison.headline):
                found.append(Move(move.change, move.low, move.high, move.unit).judgment)
        own = self.move(system)
        found += [own.judgment] if own and not found else []
        return max(found, key=_ORDER.index, default="unknown")

    @functools.cached_property
    def ship(self) -> SystemResult | None:
        """The export to choose.

        Of those that do not surely lose, about as small as the smallest (25%): the best judgment,
        then the best score. Where all of them lose, the one with the best score.
        """
        found = [s for s in self.exports if self.score(s) is not None]
        whole = [s for s in found if self.judgment(s) != "loses"]
        least = min((s.size_bytes for s in whole if s.size_bytes), default=0)
        small = [s for s in whole if s.size_bytes and s.size_bytes <= least * _SIZE_SLACK]

        def key(system: SystemResult) -> tuple[int, float, float]:
            score = self.score(system)
            return (
                _ORDER.index(self.judgment(system)),
                -score.value if score else math.inf,
                system.size_bytes or math.inf,
            )

        return min(small or whole or found, key=key, default=None)

    def same(self, system: SystemResult) -> tuple[int, int] | None:
        """Return how many answers equal the trained row's, and of how many."""
        if not system.agreement:
            return None
        same = sum(a.same for a in system.agreement.values())
        asked = sum(a.n for a in system.agreement.values())
        return (same, asked) if asked else None

    def differs(self, system: SystemResult) -> float | None:
        """Return the share of answers that are not the trained row's."""
        same = self.same(system)
        return 1 - same[0] / same[1] if same else None

    @property
    def questions(self) -> int:
        """Questions behind the leading numbers, of all benchmarks."""
        if self.report.questions:
            return self.report.questions.n
        runs = self.systems[0].runs if self.systems else ()
        return sum(run.answered or 0 for run in runs)

    @property
    def timed(self) -> list[SystemResult]:
        """Rows whose speed was measured."""
        return [s for s in self.systems if _finite(s)]

    @property
    def busy(self) -> str:
        """What kept the machine busy while speed was measured, in words; "" where it was idle."""
        return busy(self.report) if self.timed else ""

    @property
    def on_phone(self) -> bool:
        """Whether a phone measured any row."""
        own = self.report.environment
        return any(s.device and (s.environment or own).kind == "device" for s in self.systems)

    def title(self, measure: Measure) -> str:
        """Return a number's name with its benchmark."""
        words = measure.title
        if measure.alone and not words.startswith(measure.benchmark_title):
            return f"{measure.benchmark_title}, {words[0].lower()}{words[1:]}"
        return words

    # -- looks --------------------------------------------------------------------------------

    @functools.cached_property
    def looks(self) -> dict[str, tuple[str, str]]:
        """Name of a row -> shape and color."""
        found: dict[str, tuple[str, str]] = {}
        others = 0
        for system in self.systems:
            if system.role == "untrained" and ("ring", "gray") not in found.values():
                found[system.name] = ("ring", "gray")
            elif system.role == "reference" and ("dot", "teal") not in found.values():
                found[system.name] = ("dot", "teal")
            else:
                found[system.name] = _LOOKS[others % len(_LOOKS)]
                others += 1
        return found

    def mark(self, name: str, style: str = "") -> str:
        """Return a row's mark."""
        shape, color = self.looks.get(name, ("dot", "gray"))
        return icon(shape, f"mk c-{color}", style=style)

    def color(self, name: str) -> str:
        """Return the class of a row's color."""
        return f"c-{self.looks.get(name, ('dot', 'gray'))[1]}"

    def named(self, name: str) -> str:
        """Return a row's mark and name, as markup."""
        return f"{self.mark(name)}{escape(name)}"


def _finite(system: SystemResult) -> bool:
    decode = system.timings.decode_tokens_per_second
    return decode is not None and math.isfinite(decode.median)


def _move(comparison: Comparison | None, lead: Measure) -> Move | None:
    if comparison is None:
        return None
    change: ScoreChange | None = next(
        (c for c in comparison.changes if (c.split, c.kind) == (lead.split, lead.kind)), None
    )
    return Move(change.change, change.low, change.high, change.unit) if change else None


def spans(numbers: Sequence[int]) -> str:
    """Write whole numbers as spans: "1-2 and 23-24" with en dashes."""
    found: list[list[int]] = []
    for n in sorted(numbers):
        if found and n == found[-1][-1] + 1:
            found[-1].append(n)
        else:
            found.append([n])
    words = [f"{s[0]}\u2013{s[-1]}" if len(s) > 1 else f"{s[0]}" for s in found]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1] if words else ""]))


def differing(view: View, systems: Sequence[SystemResult]) -> str:
    """Return "ONNX int4 on 19%, ExecuTorch int4 on 12%" of those that differ most."""
    shares = [(s.name, d) for s in systems if (d := view.differs(s)) is not None]
    shares.sort(key=lambda item: -item[1])
    return ", ".join(f"{escape(n)} on {percent(d, 0)}" for n, d in shares[:_MOST_DIFFERING])
