"""The table of all rows with what decides between them."""

from __future__ import annotations

from hydra_mobile.reporting.formats import DASH
from hydra_mobile.reporting.formats import percent as share_of
from hydra_mobile.reporting.page.marks import bare, change, number, score
from hydra_mobile.reporting.page.view import View
from hydra_mobile.reporting.results import Spread, SystemResult
from hydra_mobile.reporting.tables import Cell, Column, Table, bytes_cell, median_cell

_MIB = 2**20


def side_by_side(view: View) -> Table:
    """Return one row for each model: score, change, equal answers, size, memory and speed."""
    lead = view.lead
    doubt = " (busy)" if view.busy else ""
    columns = [Column("Model", figures=False)]
    if lead:
        columns += [
            Column(view.title(lead)),
            Column("Change", "points"),
            Column("Same answers", "%"),
        ]
    columns += [
        Column("On disk", "MB"),
        Column("On a phone", "MiB"),
        Column("Peak here", "MB"),
        Column(f"First word{doubt}", "ms"),
        Column(f"Decode{doubt}", "tokens/s"),
    ]
    table = Table("Models side by side", tuple(columns))
    for system in view.systems:
        chosen = system is view.ship and len(view.systems) > 1
        name = Cell(system.name, "the one to ship" if chosen else "")
        scored = _scored(view, system, table) if lead else ()
        timings = system.timings
        table.rows.append(
            (
                name,
                *scored,
                bytes_cell(table, system, "size_bytes"),
                Cell(number(system.phone.needed / _MIB)) if system.phone else table.dash(),
                bytes_cell(table, system, "peak_memory_bytes"),
                median_cell(table, timings.first_token, _ms, system.reasons.get("first_token")),
                _decode(table, system, timings.decode_tokens_per_second),
            )
        )
    return without_empty_columns(table)


def without_empty_columns(table: Table) -> Table:
    """Return the table without the columns in which no row has a value."""
    kept = [
        i
        for i in range(len(table.columns))
        if any(row[i].text not in (DASH, "reference") for row in table.rows)
    ]
    rows = [tuple(row[i] for i in kept) for row in table.rows]
    # Footnotes keep their numbers; those of columns that went have nobody to point at them.
    used = {cell.footnote for row in rows for cell in row} - {None}
    notes = table.footnotes if used else []
    return Table(table.title, tuple(table.columns[i] for i in kept), rows, notes, table.groups)


def _ms(seconds: float) -> str:
    return number(1000 * seconds)


def _decode(table: Table, system: SystemResult, spread: Spread | None) -> Cell:
    reason = system.reasons.get("decode_tokens_per_second")
    return median_cell(table, spread, lambda v: number(v, 1 if v < 100 else 0), reason)


def _scored(view: View, system: SystemResult, table: Table) -> tuple[Cell, Cell, Cell]:
    own, move, same = view.score(system), view.move(system), view.same(system)
    value = table.dash(system.reasons.get("scores"))
    if own:
        bounds = f"[{bare(own.low, own.unit)}, {bare(own.high, own.unit)}]"
        value = Cell(score(own.value, own.unit), bounds)
    if system is view.reference:
        reference = Cell("reference", tone="muted")
        return value, reference, reference
    moved = table.dash(system.reasons.get("comparison"))
    if move:
        bounds = f"[{change(move.low, move.unit)}, {change(move.high, move.unit)}]"
        moved = Cell(change(move.change, move.unit), bounds)
    equal = table.dash() if same is None else Cell(share_of(same[0] / same[1]), f"of {same[1]:,}")
    return value, moved, equal
