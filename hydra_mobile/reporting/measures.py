"""Which numbers stand for a benchmark in tables, pictures and verdicts.

A benchmark with a headline is shown by it. Where there is only one benchmark, its splits are shown
too: they are then what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from hydra_mobile.reporting.results import Score, SystemResult
from hydra_mobile.reporting.schema import Report


@dataclass(frozen=True)
class Measure:
    """A number that all systems may have.

    Attributes:
        benchmark: its name.
        split: part of the benchmark.
        kind: part of the split.
        unit: see `Score`.
        headline: whether it is the benchmark's one number.
        alone: whether the report has no other benchmark.
        benchmark_title: the benchmark's name as people write it.
    """

    benchmark: str
    split: str
    kind: str
    unit: str
    headline: bool
    alone: bool
    benchmark_title: str

    @property
    def title(self) -> str:
        """The heading: the benchmark is named unless it is the only one."""
        parts = place(self.benchmark, self.split, self.kind)
        if self.alone and parts:
            words = " ".join(parts)
            return words[0].upper() + words[1:]
        return " ".join([self.benchmark_title, *parts])

    def of(self, system: SystemResult) -> Score | None:
        """Return the system's score, or None."""
        return system.score(self.benchmark, self.split, self.kind)


def place(benchmark: str, split: str, kind: str) -> list[str]:
    """Return the words for a part of a benchmark; none for the whole of it."""
    # A split that is a file (MMBench) begins with the benchmark's name.
    own = split.removeprefix(f"{benchmark}_")
    return [part for part in (own, kind) if part != "all"]


def benchmarks(report: Report) -> list[str]:
    """Return the names of all scored benchmarks, in order of appearance."""
    return list(dict.fromkeys(s.benchmark for system in report.systems for s in system.scores))


def measures(report: Report) -> list[Measure]:
    """Return the numbers that stand for each benchmark of the report, in order of appearance."""
    scores = [score for system in report.systems for score in system.scores]
    alone = len({score.benchmark for score in scores}) == 1
    led = {score.benchmark for score in scores if score.headline}
    shown: dict[tuple[str, str, str], Measure] = {}
    for benchmark in dict.fromkeys(score.benchmark for score in scores):
        own = [score for score in scores if score.benchmark == benchmark]
        chosen = [score for score in own if score.headline]
        if benchmark not in led or alone:
            chosen += [score for score in own if score.kind == "all"]
        for s in chosen:
            key = (s.benchmark, s.split, s.kind)
            shown.setdefault(
                key, Measure(*key, s.unit, s.headline, alone, report.title_of(benchmark))
            )
    return list(shown.values())
