"""The report as Markdown, for a pull request, a model card or a terminal pager.

Renders what `tables` and `verdicts` decided; adds no number of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from hydra_mobile.reporting import benchmark_tables, tables
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.tables import Cell, Column, Table
from hydra_mobile.reporting.verdicts import findings

_MARKS = {"pass": "✓", "fail": "✗", "unknown": "?", "note": "·", "warning": "!"}


def render_markdown(report: Report) -> str:
    """Return the whole report as Markdown."""
    parts = [f"# {_text(report.title)}", f"Made {report.created}, report schema {report.schema}."]
    parts.append("\n".join(_findings(report)))
    if report.systems:
        parts += _section(tables.main_table(report))
        parts.append(f"_{_text(tables.caution(report.environment))}_")
        if report.protocol:
            parts.append(f"_{_text(report.protocol)}_")
        parts += _benchmarks(report)
        parts += _section(tables.timings_table(report))
    if report.parity:
        parts += _section(tables.parity_table(report))
    if report.systems:
        parts += _section(tables.artifacts_table(report))
    if report.training:
        parts += ["## Training", _facts(tables.training_facts(report.training))]
        if report.training.rank_map:
            parts += _section(tables.ranks_table(report.training))
    for title, machine in tables.environments(report):
        parts += [f"## {_text(title)}", _facts(tables.environment_facts(machine))]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {_text(note)}" for note in report.notes)]
    if report.licences:
        parts += ["## Licenses", _facts(list(report.licences.items()))]
    return "\n\n".join(parts) + "\n"


def _benchmarks(report: Report) -> list[str]:
    parts: list[str] = []
    if any(system.runs for system in report.systems):
        parts += _section(benchmark_tables.results_table(report))
        parts += _section(benchmark_tables.protocols_table(report))
    if report.comparisons:
        parts += _section(benchmark_tables.changes_table(report))
        flips = benchmark_tables.flips_table(report)
        parts += _section(flips) if flips.rows else []
    if any(system.scores for system in report.systems):
        parts += _section(benchmark_tables.kinds_table(report))
    return parts


def _findings(report: Report) -> Iterable[str]:
    for finding in findings(report):
        mark, claim = _MARKS[finding.status], _text(finding.claim)
        yield f"- {mark} **{claim}**: {_text(finding.evidence)}"


def _section(table: Table) -> list[str]:
    lines = [
        _row(_heading(column) for column in table.columns),
        _row("---:" if column.figures else "---" for column in table.columns),
        *(_row(_cell(cell) for cell in row) for row in table.rows),
    ]
    parts = [f"## {_text(table.title)}", "\n".join(lines)]
    if table.footnotes:
        notes = (f"({i}) {_text(note)}" for i, note in enumerate(table.footnotes, 1))
        parts.append("  \n".join(notes))
    return parts


def _row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _heading(column: Column) -> str:
    return _text(f"{column.title}, {column.unit}" if column.unit else column.title)


def _cell(cell: Cell) -> str:
    text = _text(cell.text)
    if cell.detail:
        text += f" ({_text(cell.detail)})"
    return f"{text} ({cell.footnote})" if cell.footnote else text


def _facts(facts: list[tuple[str, str]]) -> str:
    return "\n".join(f"- {_text(name)}: {_text(value)}" for name, value in facts)


def _text(text: str) -> str:
    """Return text that Markdown shows as it is, on one line and inside a table cell."""
    line = " ".join(text.split())
    for mark in ("\\", "|", "*", "_", "`", "<", "["):
        line = line.replace(mark, f"\\{mark}")
    return line
