"""A report on the terminal: its main table, what it means, and the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.cli import ui
from hydra_mobile.reporting import tables
from hydra_mobile.reporting.formats import DASH
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.tables import Cell, Column
from hydra_mobile.reporting.verdicts import findings

_MARKS = {"pass": "good", "fail": "bad", "unknown": "unknown", "note": "none", "warning": "warn"}
# So many systems stand side by side; more of them stand below each other.
_BESIDE = 3


def show_report(report: Report, files: Sequence[Path] = ()) -> None:
    """Print the main table, then each finding with a mark, then the files."""
    if report.systems:
        table = tables.main_table(report)
        notes = [f"({n}) {note}" for n, note in enumerate(table.footnotes, 1)]
        notes.append(tables.caution(report.environment))
        if len(table.rows) <= _BESIDE:
            _beside(table.columns, table.rows, notes)
        else:
            _below(table.columns, table.rows, notes)
    found = findings(report)
    if found:
        ui.blank()
        ui.line("Verdict")
        for finding in found:
            ui.bullet(_MARKS[finding.status], f"{finding.claim}: {finding.evidence}")
    if files:
        ui.blank()
        for file in files:
            ui.line(f"  {file.suffix.lstrip('.'):<10} {file}")


def _beside(
    columns: Sequence[Column], rows: Sequence[tuple[Cell, ...]], notes: Sequence[str]
) -> None:
    """Print systems as columns and what was measured as rows; rows without a value are left out."""
    shown = [ui.Column(""), *(ui.Column(row[0].text, right=True) for row in rows)]
    lines = []
    for at, column in enumerate(columns[1:], 1):
        cells = [_text(row[at]) for row in rows]
        if any(cell not in ("", DASH) for cell in cells):
            lines.append((_heading(column), *cells))
    ui.table(shown, lines, notes)


def _below(
    columns: Sequence[Column], rows: Sequence[tuple[Cell, ...]], notes: Sequence[str]
) -> None:
    """Print a row for each system; the speeds go first where the window is narrow."""
    shown = [
        ui.Column(_heading(column), right=at > 0, drop=max(0, at - 2))
        for at, column in enumerate(columns)
    ]
    ui.table(shown, [[_text(cell) for cell in row] for row in rows], notes)


def _heading(column: Column) -> str:
    unit = column.unit.removesuffix(" (95%)")
    return f"{column.title}, {unit}" if unit else column.title


def _text(cell: Cell) -> str:
    text = f"{cell.text} {cell.detail}" if cell.detail else cell.text
    return f"{text} ({cell.footnote})" if cell.footnote else text


def report_data(report: Report, files: Sequence[Path]) -> dict[str, Any]:
    """Return a report for programs: the whole report.json, its findings, and the files."""
    return {
        "report": report.to_dict(),
        "findings": [
            {"status": f.status, "claim": f.claim, "evidence": f.evidence} for f in findings(report)
        ],
        "files": list(files),
    }
