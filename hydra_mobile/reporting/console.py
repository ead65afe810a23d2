"""The report's headline and main table on the terminal.

With rich on a terminal; as plain lines, one system a line, where output is piped or the window is
too narrow for the table.
"""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from hydra_mobile.reporting import tables
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.tables import Cell, Column, Table
from hydra_mobile.reporting.verdicts import findings

_MARKS = {"pass": ("✓", "green"), "fail": ("✗", "red"), "unknown": ("?", "yellow")}
_MARKS |= {"note": ("·", "dim"), "warning": ("!", "yellow")}


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the findings and the main table.

    Args:
        report: what to print.
        console: where to; standard output when None.
    """
    console = console or Console()
    table = tables.main_table(report)
    rich_table = _rich(table)
    if report.systems:
        # The table is asked for its own width: rich would squeeze columns until words break.
        roomy = console.options.update(width=10_000)
        needed = Measurement.get(console, roomy, rich_table).maximum
        if console.is_terminal and needed <= console.width:
            console.print(rich_table)
        else:
            for words in plain_lines(table):
                console.print(Text(words), soft_wrap=True)
        for i, note in enumerate(table.footnotes, 1):
            console.print(Text(f"({i}) {note}", style="dim"), soft_wrap=True)
        console.print(Text(tables.caution(report.environment), style="dim"), soft_wrap=True)
    for finding in findings(report):
        mark, style = _MARKS[finding.status]
        line = Text.assemble((f"{mark} ", style), (finding.claim, "bold"), f": {finding.evidence}")
        console.print(line, soft_wrap=True)


def plain_lines(table: Table) -> list[str]:
    """Return a table as lines "name: heading value unit, ...", for logs and narrow windows."""
    lines = []
    for row in table.rows:
        pairs = zip(table.columns[1:], row[1:], strict=True)
        values = (f"{c.title.lower()} {_plain(cell, c)}" for c, cell in pairs)
        lines.append(f"{row[0].text}: {', '.join(values)}")
    return lines


def _plain(cell: Cell, column: Column) -> str:
    unit = column.unit.partition(" ")[0]
    figure = cell.text[:1].isdigit()
    text = f"{cell.text} {unit}" if unit and figure else cell.text
    if cell.detail:
        text += f" ({cell.detail})"
    return f"{text} ({cell.footnote})" if cell.footnote else text


def _rich(table: Table) -> RichTable:
    made = RichTable(
        title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    for column in table.columns:
        heading = f"{column.title}\n{column.unit}" if column.unit else column.title
        made.add_column(
            Text(heading), justify="right" if column.figures else "left", vertical="top"
        )
    for row in table.rows:
        made.add_row(*(_rich_cell(cell) for cell in row))
    return made


def _rich_cell(cell: Cell) -> Text:
    style = {"good": "green", "bad": "red", "muted": "dim"}.get(cell.tone, "")
    text = Text(cell.text, style=style)
    if cell.footnote:
        text.append(f" ({cell.footnote})")
    if cell.detail:
        text.append(f"\n{cell.detail}", style="dim")
    return text
