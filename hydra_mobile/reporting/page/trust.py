"""Can I trust these numbers? What was the same for all, what is open, how it was measured."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from hydra_mobile.reporting import benchmark_tables, tables
from hydra_mobile.reporting.page.marks import change, facts, fold, icon, plural, score, section
from hydra_mobile.reporting.page.table_html import table_html
from hydra_mobile.reporting.page.view import View
from hydra_mobile.reporting.verdicts import Finding, findings

_SIGNS = {
    "pass": ("check", "passes"),
    "fail": ("no", "fails"),
    "unknown": ("ask", "not decided"),
    "note": ("flip", "note"),
    "warning": ("warn", "warning"),
}
_MOST_WARNINGS = 6


def trust(view: View) -> str:
    """Return the last section of the page."""
    judged = findings(view.report)
    items = "".join(
        f"<li>{icon(sign)}<div><b>{escape(title)}</b>{escape(text)}</div></li>"
        for sign, title, text in _statements(view, judged)
    )
    answer = []
    if view.lead:
        answer.append("Scores: yes, within their intervals.")
    if view.timed:
        answer.append("Speeds: no." if view.busy else "Speeds: for this computer.")
    if not view.on_phone:
        answer.append("Phones: not yet.")
    body = [f'<ul class="trust">{items}</ul>', _checks(judged), *_folds(view)]
    return section("trust", "Can I trust these numbers?", " ".join(answer), *body)


def _statements(view: View, judged: tuple[Finding, ...]) -> Iterator[tuple[str, str, str]]:
    report = view.report
    for finding in [f for f in judged if f.status == "warning"][:_MOST_WARNINGS]:
        yield "warn", finding.claim, finding.evidence
    for finding in judged:
        if finding.status == "fail" and "match" in finding.claim:
            yield "warn", "Parity fails", finding.evidence
    if report.comparisons:
        n = plural(view.questions, "question") if view.questions else "questions"
        text = f"Every model answered the same {n}, greedily. Differences are paired."
        yield "yes", "The same questions for all", text
    after = view.score(view.reference)
    if after and after.majority is not None:
        better = after.low > after.majority
        title = f"{'Better' if better else 'Not clearly better'} than one fixed answer"
        text = f"Always giving the commonest answer gets {score(after.majority, after.unit)}."
        yield "yes" if better else "warn", title, text
    undecided = [m for s in view.exports if (m := view.move(s)) and m.judgment == "open"]
    if undecided:
        wide = max(undecided, key=lambda m: m.high - m.low)
        half = change((wide.high - wide.low) / 2, wide.unit).lstrip("+")
        text = f"The intervals are {half} points to each side; smaller ones need more questions."
        yield "ask", "Small differences are not decided", text
    if view.busy:
        text = f"{view.busy[0].upper()}{view.busy[1:]}. Scores are not touched by that; speeds are."
        yield "warn", "The computer was busy while timing", text
    if view.exports and not view.on_phone:
        text = "Memory on phones is an estimate, and speed is that of this computer's processor."
        yield "warn", "Not measured on a phone", text
    if report.training:
        text = "Intervals are over questions. Another seed would move the scores as well."
        yield "ask", "One training run", text


def _checks(judged: tuple[Finding, ...]) -> str:
    if not judged:
        return ""
    items = ""
    for finding in judged:
        sign, words = _SIGNS[finding.status]
        items += (
            f'<li class="{finding.status}">{icon(sign, "v", words)}<div>'
            f"<b>{escape(finding.claim)}</b><p>{escape(finding.evidence)}</p></div></li>"
        )
    counts = {status: sum(f.status == status for f in judged) for status in _SIGNS}
    names = {"pass": "pass", "fail": "fail", "unknown": "not decided"}
    told = ", ".join(f"{counts[key]} {words}" for key, words in names.items() if counts[key])
    return fold("All checks", told, f'<ul class="checks">{items}</ul>')


def _folds(view: View) -> Iterator[str]:
    report = view.report
    body = ""
    if any(system.runs for system in view.systems):
        body += table_html(benchmark_tables.protocols_table(report))
    notes = [n for n in (report.protocol, *report.notes) if n]
    body += f'<ul class="notes">{"".join(f"<li>{escape(n)}</li>" for n in notes)}</ul>'
    for title, machine in tables.environments(report):
        body += f"<h3>{escape(title)}</h3>{facts(tables.environment_facts(machine))}"
    yield fold("How this was measured", "questions, timing, computer, versions", body)
    if report.parity:
        parity = table_html(tables.parity_table(report))
        yield fold("Parity, step by step", "logits on golden questions", parity)
    if report.systems:
        artifacts = table_html(tables.artifacts_table(report))
        yield fold("Artifacts", "sources, runtimes, delegation", artifacts)
    if report.licences:
        yield fold("Licenses", "what went in", facts(report.licences.items()))
