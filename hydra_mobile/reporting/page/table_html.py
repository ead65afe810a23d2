"""Tables as HTML; wide ones scroll in their own box, or become lists on narrow pages."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from hydra_mobile.reporting.tables import Cell, Column, Table


def table_html(table: Table, *, stack: bool = False, notes: Iterable[str] = ()) -> str:
    """Return a table with its footnotes.

    Args:
        table: what it holds.
        stack: show rows as lists where the page is narrow.
        notes: lines below it.
    """
    head = "".join(_heading(column) for column in table.columns)
    rows = []
    for index, row in enumerate(table.rows):
        pairs = zip(row, table.columns, strict=True)
        cells = (_cell(cell, column, i) for i, (cell, column) in enumerate(pairs))
        kind = ' class="group"' if index and index in table.groups else ""
        rows.append(f"<tr{kind}>{''.join(cells)}</tr>")
    footnotes = "".join(f"<li>{escape(note)}</li>" for note in table.footnotes)
    below = f'<ol class="footnotes">{footnotes}</ol>' if footnotes else ""
    below += "".join(f'<p class="remark">{escape(note)}</p>' for note in notes if note)
    kind = "data stack" if stack else "data"
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(table.title)}">'
        f'<table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{below}"
    )


def _heading(column: Column) -> str:
    unit = f"<small>{escape(column.unit)}</small>" if column.unit else ""
    kind = "" if column.figures else ' class="t"'
    return f'<th scope="col"{kind}>{escape(column.title)}{unit}</th>'


def _cell(cell: Cell, column: Column, index: int) -> str:
    kinds = (cell.tone, "" if column.figures else "t", "prose" if column.prose else "")
    classes = " ".join(name for name in kinds if name)
    kind = f' class="{classes}"' if classes else ""
    text = escape(cell.text)
    if cell.footnote:
        text = f"{text}<sup>{cell.footnote}</sup>"
    if cell.detail:
        text += f"<small>{escape(cell.detail)}</small>"
    if index == 0:
        return f'<th scope="row"{kind}>{text}</th>'
    label = f"{column.title}, {column.unit}" if column.unit else column.title
    return f'<td{kind} data-label="{escape(label)}"><span>{text}</span></td>'
