"""The headline of a report: each claim of the project, judged from the report's own numbers.

A claim passes by more than its interval or does not pass; what was not measured is said to be
so. The bounds stand here and nowhere else. Called by the Markdown, HTML and terminal renderers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hydra_mobile.reporting.formats import count, interval, megabytes, percent, ratio
from hydra_mobile.reporting.schema import Report, Score, SystemResult

AGREEMENT_BOUND = {"fp32": 0.99}
"""Least share of answers equal to the reference's, by preset."""

QUANTISED_AGREEMENT_BOUND = 0.90
"""The same for every other preset."""

SPEED_BOUND = {("executorch", "int4"): 3.0}
"""Least ratio of decode speed to that of eager torch fp32, by runtime and preset."""


@dataclass(frozen=True)
class Finding:
    """One judged claim.

    Attributes:
        status: "unknown" when the numbers for it are not in the report, "note" when nothing is
            demanded.
        claim: what was asked, a few words.
        evidence: the numbers.
    """

    status: Literal["pass", "fail", "unknown", "note"]
    claim: str
    evidence: str


def findings(report: Report) -> tuple[Finding, ...]:
    """Judge every claim that the report has a say in."""
    return (
        *_learning(report),
        *_agreement(report),
        *_parity(report),
        *_speed(report),
        *_budget(report),
        *_fallbacks(report),
    )


def _learning(report: Report) -> Iterator[Finding]:
    reference = report.reference
    scores = [s for s in reference.scores if s.kind == "all"] if reference else []
    if not scores:
        yield Finding("unknown", "Training helped", "the trained model was not scored")
        return
    untrained = next((s for s in report.systems if s.role == "untrained"), None)
    several = len({s.benchmark for s in scores}) > 1
    for score in scores:
        name = f"{score.benchmark} {score.split}" if several else score.split
        before = untrained.score(score.benchmark, score.split) if untrained else None
        yield _learned(f"Training helped ({name})", score, before)


def _learned(claim: str, score: Score, before: Score | None) -> Finding:
    evidence = f"{percent(score.value)} % ({interval(score.low, score.high)}), n = {score.n}"
    if before:
        evidence += f"; untrained {percent(before.value)} % ({interval(before.low, before.high)})"
    if score.majority is not None:
        evidence += f"; majority {percent(score.majority)} %"
    beaten = [before.high] if before else []
    beaten += [score.majority] if score.majority is not None else []
    if before is None:
        # Half a comparison is none: only a defeat by the majority is certain.
        lost = any(score.low <= bound for bound in beaten)
        return Finding("fail" if lost else "unknown", claim, f"{evidence}; untrained not scored")
    passed = all(score.low > bound for bound in beaten)
    return Finding("pass" if passed else "fail", claim, evidence)


def _exports(report: Report) -> list[SystemResult]:
    return [s for s in report.systems if s.role == "export"]


def _agreement(report: Report) -> Iterator[Finding]:
    for system in _exports(report):
        claim = f"{system.name} answers as torch does"
        if not system.agreement:
            reason = system.reasons.get("agreement", "not compared")
            yield Finding("unknown", claim, reason)
            continue
        bound = AGREEMENT_BOUND.get(system.preset, QUANTISED_AGREEMENT_BOUND)
        passed = all(a.n and a.same >= bound * a.n for a in system.agreement.values())
        parts = [
            f"{split} {a.same} of {a.n} ({percent(a.same / a.n if a.n else None)} %)"
            for split, a in system.agreement.items()
        ]
        evidence = f"{', '.join(parts)}; at least {percent(bound, 0)} % wanted"
        if not passed and "agreement" in system.reasons:
            evidence += f"; why: {system.reasons['agreement']}"
        yield Finding("pass" if passed else "fail", claim, evidence)


def _parity(report: Report) -> Iterator[Finding]:
    judged = [row for row in report.parity if row.verdict != "not gated"]
    failed = [row.rung for row in judged if row.verdict == "fail"]
    if failed:
        yield Finding("fail", "Parity ladder holds", f"broken at {', '.join(failed)}")
    elif judged:
        rungs = f"all {len(judged)} judged rungs" if len(judged) > 1 else "the judged rung"
        yield Finding("pass", "Parity ladder holds", f"{rungs} within tolerance")


def decode_ratio(report: Report, system: SystemResult) -> float | None:
    """Return how many times faster `system` decodes than the reference, or None."""
    reference = report.reference
    base = reference.timings.decode_tokens_per_second if reference else None
    own = system.timings.decode_tokens_per_second
    return own.median / base.median if own and base and base.median > 0 else None


def _speed(report: Report) -> Iterator[Finding]:
    for system in _exports(report):
        times = decode_ratio(report, system)
        bound = SPEED_BOUND.get((system.runtime, system.preset))
        if bound is None or report.reference is None:
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


def size_summary(report: Report) -> str:
    """Return the smallest export's size against the reference's, or nothing."""
    sized = [s for s in _exports(report) if s.size_bytes]
    reference = report.reference
    if not sized or not reference or not reference.size_bytes:
        return ""
    least = min(sized, key=lambda s: s.size_bytes or 0)
    share = (least.size_bytes or 0) / reference.size_bytes
    return (
        f"{least.name}: {megabytes(least.size_bytes)} MB, {percent(share, 0)} % of {reference.name}"
    )
