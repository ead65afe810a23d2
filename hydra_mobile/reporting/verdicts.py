"""The headline of a report: each claim of the project, judged from the report's own numbers.

A claim passes by more than its interval or does not pass; what was not measured is said to be so.
The bounds stand here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hydra_mobile.reporting import formats
from hydra_mobile.reporting.formats import count, percent, ratio
from hydra_mobile.reporting.measures import benchmarks, measures
from hydra_mobile.reporting.results import BenchmarkRun, Score, SystemResult
from hydra_mobile.reporting.schema import Report

AGREEMENT_BOUND = {"fp32": 0.99}
"""Least share of answers equal to the reference's, by preset."""

QUANTIZED_AGREEMENT_BOUND = 0.90
"""The same for every other preset."""

SPEED_BOUND = {("executorch", "int4"): 3.0}
"""Least ratio of decode speed to that of eager torch fp32, by runtime and preset."""

LOSS_BOUND = {"share": 0.01, "points": 20.0}
"""What an export may lose of a benchmark's headline: one point of a hundred, 20 of MME's 2000."""


@dataclass(frozen=True)
class Finding:
    """One judged claim.

    Attributes:
        status: "unknown" when the numbers for it are not in the report, or do not decide it;
            "note" when nothing is demanded, "warning" when numbers must not be compared lightly.
        claim: what was asked, a few words.
        evidence: the numbers.
    """

    status: Literal["pass", "fail", "unknown", "note", "warning"]
    claim: str
    evidence: str


def findings(report: Report) -> tuple[Finding, ...]:
    """Judge every claim that the report has a say in."""
    return (
        *_protocols(report),
        *_incomplete(report),
        *_learning(report),
        *_losses(report),
        *_agreement(report),
        *_parity(report),
        *_speed(report),
        *_budget(report),
        *_fallbacks(report),
        *_devices(report),
    )


def _protocols(report: Report) -> Iterator[Finding]:
    """Warn where one benchmark was asked in several ways, or of several files."""
    for benchmark in benchmarks(report):
        scored = [s for s in report.systems if any(x.benchmark == benchmark for x in s.scores)]
        ways: dict[str, list[str]] = {}
        for system, way in zip(scored, _ways([s.run(benchmark) for s in scored]), strict=True):
            ways.setdefault(way, []).append(system.name)
        if len(ways) > 1:
            told = "; ".join(f"{way}: {formats.few(names)}" for way, names in ways.items())
            claim = f"{report.title_of(benchmark)} was not asked of all in the same way"
            yield Finding("warning", claim, f"{told}. Such scores do not compare")


def _ways(runs: list[BenchmarkRun | None]) -> list[str]:
    """Say in words how each run asked, naming only what tells them apart."""
    known = [run for run in runs if run]
    files_differ = len({run.sources for run in known}) > 1
    # A digest or a number that was not recorded tells nothing apart.
    digests = {run.samples for run in known} - {""}
    questions_differ = len(digests) > 1 or len({run.questions for run in known} - {None}) > 1
    # Files and notes follow from the sources, which are compared by themselves.
    facts = {name for run in known for name in run.facts} - {"protocol", "files", "notes"}
    several = [f for f in sorted(facts) if len({repr(r.facts.get(f)) for r in known}) > 1]
    ways = []
    for run in runs:
        if run is None or not run.protocol:
            ways.append("protocol not recorded")
            continue
        parts = [f"protocol {run.protocol}"]
        parts += [
            f"{name.replace('_', ' ')} {run.facts[name]!r}"
            if name in run.facts
            else f"{name.replace('_', ' ')} not recorded"
            for name in several
        ]
        if files_differ:
            parts.append(f"files {', '.join(run.sources) or 'not recorded'}")
        if questions_differ:
            asked = "" if run.questions is None else f"{count(run.questions)} "
            parts.append(f"{asked}questions {run.samples[:6]}".rstrip())
        ways.append(", ".join(parts))
    return ways


def _incomplete(report: Report) -> Iterator[Finding]:
    for system in report.systems:
        for run in system.runs:
            if not run.complete:
                evidence = f"{count(run.answered)} of {count(run.questions)} questions answered"
                claim = f"{system.name} on {report.title_of(run.benchmark)} is incomplete"
                yield Finding("warning", claim, evidence)


def _learning(report: Report) -> Iterator[Finding]:
    reference = report.reference
    shown = [(m, m.of(reference)) for m in measures(report)] if reference else []
    scores = [(measure, score) for measure, score in shown if score]
    if not scores:
        yield Finding("unknown", "Training helped", "the trained model was not scored")
        return
    untrained = next((s for s in report.systems if s.role == "untrained"), None)
    for measure, score in scores:
        name = measure.split if measure.alone and measure.kind == "all" else measure.title
        before = measure.of(untrained) if untrained else None
        yield _learned(f"Training helped ({name})", score, before)


def _learned(claim: str, score: Score, before: Score | None) -> Finding:
    evidence = f"{_shown(score)}, n = {score.n}"
    if before:
        evidence += f"; untrained {_shown(before)}"
    if score.majority is not None:
        constant = formats.score(score.majority, score.unit)
        evidence += f"; majority {constant} {formats.sign_of(score.unit)}"
    beaten = [before.high] if before else []
    beaten += [score.majority] if score.majority is not None else []
    if before is None:
        # Half a comparison is none: only a defeat by the majority is certain.
        lost = any(score.low <= bound for bound in beaten)
        return Finding("fail" if lost else "unknown", claim, f"{evidence}; untrained not scored")
    passed = all(score.low > bound for bound in beaten)
    return Finding("pass" if passed else "fail", claim, evidence)


def _shown(score: Score) -> str:
    unit = score.unit
    between = formats.score_interval(score.low, score.high, unit)
    return f"{formats.score(score.value, unit)} {formats.sign_of(unit)} ({between})"


def _losses(report: Report) -> Iterator[Finding]:
    """Judge what every export loses of the headlines, by the paired intervals."""
    for system in _exports(report):
        found = [c for c in report.comparisons if c.system == system.name and c.headline]
        if not found:
            continue
        states, parts = set(), []
        for comparison in found:
            move = comparison.headline
            assert move is not None
            bound = -LOSS_BOUND[move.unit]
            states.add("pass" if move.low >= bound else "fail" if move.high < bound else "open")
            between = formats.change_interval(move.low, move.high, move.unit)
            value = formats.change(move.change, move.unit)
            parts.append(f"{report.title_of(comparison.benchmark)} {value} ({between})")
        evidence = f"{', '.join(parts)}; at most 1 point of 100 (MME: 20 of 2000) may be lost"
        claim = f"{system.name} scores as {found[0].reference} does"
        if "fail" in states:
            yield Finding("fail", claim, evidence)
        elif "open" in states:
            yield Finding("unknown", claim, f"{evidence}; the intervals do not decide it")
        else:
            yield Finding("pass", claim, evidence)


def _exports(report: Report) -> list[SystemResult]:
    return [s for s in report.systems if s.role == "export"]


def _agreement(report: Report) -> Iterator[Finding]:
    for system in _exports(report):
        claim = f"{system.name} answers as torch does"
        if not system.agreement:
            reason = system.reasons.get("agreement", "not compared")
            yield Finding("unknown", claim, reason)
            continue
        bound = AGREEMENT_BOUND.get(system.preset, QUANTIZED_AGREEMENT_BOUND)
        passed = all(a.n and a.same >= bound * a.n for a in system.agreement.values())
        parts = [
            f"{split} {a.same} of {a.n} ({percent(a.same / a.n if a.n else None)}%)"
            for split, a in system.agreement.items()
        ]
        evidence = f"{', '.join(parts)}; at least {percent(bound, 0)}% required"
        if not passed and "agreement" in system.reasons:
            evidence += f"; why: {system.reasons['agreement']}"
        yield Finding("pass" if passed else "fail", claim, evidence)


def _parity(report: Report) -> Iterator[Finding]:
    judged = [row for row in report.parity if row.verdict != "not gated"]
    failed = [row.rung for row in judged if row.verdict == "fail"]
    if failed:
        yield Finding(
            "fail", "The models match, step by step", f"first difference in {', '.join(failed)}"
        )
    elif judged:
        steps = f"all {len(judged)} steps" if len(judged) > 1 else "the step"
        yield Finding("pass", "The models match, step by step", f"{steps} within tolerance")


def decode_ratio(report: Report, system: SystemResult) -> float | None:
    """Return how many times faster `system` decodes than the reference, or None."""
    reference = report.reference
    # A ratio needs both from one measurement: on one machine, under one load.
    if reference and reference.environment != system.environment:
        return None
    base = reference.timings.decode_tokens_per_second if reference else None
    own = system.timings.decode_tokens_per_second
    return own.median / base.median if own and base and base.median > 0 else None


BUSY_SHARE = 0.15
"""Timings are doubted where other programs used more of the processors than this share."""

BUSY_LOAD = 0.75
"""The same for the load average at the start, per core, where the share was not measured."""


def busy(report: Report) -> str:
    """Return what kept the measuring machine busy, in words; "" where nothing is known to."""
    found = [s.others for s in report.systems if s.others is not None]
    if found:
        most = max(found)
        words = f"other programs used up to {percent(most, 0)}% of the processors"
        return words if most > BUSY_SHARE else ""
    load, cores = report.environment.load_average, report.environment.cores_logical
    if load and cores and report.environment.kind == "host" and load[0] > BUSY_LOAD * cores:
        return f"the load was {load[0]:.1f} on {cores} cores when the measuring began"
    return ""


def _speed(report: Report) -> Iterator[Finding]:
    doubt = busy(report)
    for system in _exports(report):
        times = decode_ratio(report, system)
        bound = SPEED_BOUND.get((system.runtime, system.preset))
        if bound is None or report.reference is None:
            continue
        if system.environment != report.reference.environment:
            continue
        claim = f"{system.name} decodes faster than torch"
        if times is None:
            yield Finding("unknown", claim, "the decode speed was not measured on both")
            continue
        evidence = (
            f"{ratio(times)} {report.reference.name}, at least {ratio(bound)} wanted; "
            f"on this {report.environment.label}"
        )
        if times < bound and "decode_tokens_per_second" in system.reasons:
            evidence += f"; why: {system.reasons['decode_tokens_per_second']}"
        if doubt:
            yield Finding("unknown", claim, f"{evidence}; {doubt}")
            continue
        yield Finding("pass" if times >= bound else "fail", claim, evidence)


def _budget(report: Report) -> Iterator[Finding]:
    if report.training:
        counts, rank = report.training.parameters, report.training.r_ref
        evidence = (
            f"{count(counts.lora)} LoRA parameters; uniform LoRA at rank {rank} "
            f"has {count(counts.budget)}"
        )
        passed = counts.lora <= counts.budget
        yield Finding("pass" if passed else "fail", "Rank budget kept", evidence)


def _fallbacks(report: Report) -> Iterator[Finding]:
    for system in _exports(report):
        if system.fallbacks:
            evidence = "; ".join(system.fallbacks)
            yield Finding("note", f"{system.name} fell back", evidence)


def _devices(report: Report) -> Iterator[Finding]:
    for system in report.systems:
        if system.device:
            yield Finding("note", f"{system.name} ran on a device", "; ".join(system.device))
