"""The rank history on the terminal: events, the last map as layers by projections, totals.

As a table where it fits; as plain lines, one event a line, where output is piped or the window is
narrow.
"""

from __future__ import annotations

import dataclasses
import json

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hydra_mobile.cli.rank_record import RankRecord
from hydra_mobile.reporting.formats import DASH
from hydra_mobile.reporting.rank_history import maps_in_force, totals
from hydra_mobile.reporting.ranks import RankGrid, grids, step_of
from hydra_mobile.reporting.tables import rank_events_table

# Least width of a column of prose, which may break into lines; figures never do.
_PROSE = 20


def print_record(record: RankRecord, console: Console) -> None:
    """Print everything there is to say about a run's ranks."""
    ranks, facts = record.config.ranks, record.facts
    training = "" if (record.run / "summary.json").is_file() else ", not finished"
    _line(
        console,
        f"{record.run}: policy {ranks.policy}, reference rank {ranks.r_ref}, "
        f"step {facts.steps}{training}",
        "bold",
    )
    _print_events(record, console)
    maps = maps_in_force(facts)
    for grid in grids(maps[-1].ranks) if maps else ():
        _line(console, f"{grid.stack}, ranks since step {maps[-1].step}", "bold")
        console.print(_map_table(grid, ranks.r_ref))
    if words := totals(facts).words():
        _line(console, words)


def _print_events(record: RankRecord, console: Console) -> None:
    events = rank_events_table(record.facts)
    table = Table(box=box.SIMPLE_HEAD)
    for column in events.columns:
        heading = f"{column.title}\n{column.unit}" if column.unit else column.title
        table.add_column(
            Text(heading),
            justify="right" if column.figures else "left",
            no_wrap=not column.prose,
            min_width=_PROSE if column.prose else None,
        )
    for row in events.rows:
        table.add_row(*(Text(c.text, style="dim" if c.tone == "muted" else "") for c in row))
    needed = Measurement.get(console, console.options.update(width=10_000), table).minimum
    if console.is_terminal and needed <= console.width:
        console.print(table)
        return
    for row in events.rows:
        step, kind, *values, why = (cell.text for cell in row)
        titles = ("", "predicted gain ", "measured gain ", "parameters ", "spare ")
        pairs = zip(titles, values, strict=True)
        known = [f"{title}{text}" for title, text in pairs if text not in ("", DASH)]
        _line(console, f"step {step}: {', '.join([kind, *known])}{f': {why}' if why else ''}")


def _map_table(grid: RankGrid, r_ref: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("layer", justify="right")
    for projection in grid.projections:
        table.add_column(projection.removesuffix("_proj"), justify="right")
    for layer in grid.layers:
        cells = (_rank(grid.cells.get((layer, p)), r_ref) for p in grid.projections)
        table.add_row(Text(layer, style="dim"), *cells)
    return table


def _rank(rank: int | None, r_ref: int) -> Text:
    if rank is None:
        return Text("")
    step = step_of(rank, r_ref)
    if step is None:
        return Text("0", style="dim")
    return Text(str(rank), style="" if not step else "blue" if step < 0 else "dark_orange")


def as_json_text(record: RankRecord) -> str:
    """Return the same as JSON: the events as recorded, the last map, the totals."""
    sums = totals(record.facts)
    maps = record.history.maps()
    final = [{"step": at, "digest": m.digest(), "ranks": dict(m)} for at, m in maps[-1:]]
    value = {
        "policy": record.config.ranks.policy,
        "r_ref": record.config.ranks.r_ref,
        "steps": record.facts.steps,
        "finished": (record.run / "summary.json").is_file(),
        "events": [event.to_json() for event in record.history.read()],
        "final": final[0] if final else None,
        "totals": {**dataclasses.asdict(sums), "acted": sums.acted},
    }
    return json.dumps(value, indent=2, ensure_ascii=False)


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
