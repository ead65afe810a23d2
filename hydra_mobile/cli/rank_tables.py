"""The rank history on the terminal: events, the last map as layers by projections, totals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from hydra_mobile.api.ranks import RankRecord
from hydra_mobile.cli import ui
from hydra_mobile.reporting.formats import DASH
from hydra_mobile.reporting.rank_history import maps_in_force, totals
from hydra_mobile.reporting.ranks import RankGrid, grids
from hydra_mobile.reporting.tables import rank_events_table

# How the log calls events, and how people read them.
_KINDS = {"abstain": "stayed", "abstained": "stayed", "allocate": "moved", "rollback": "undone"}


def show_record(record: RankRecord, all_layers: bool) -> None:
    """Print everything there is to say about a run's ranks."""
    ranks, facts = record.config.ranks, record.facts
    training = "" if record.finished else ", not finished"
    ui.line(
        f"{record.run}: policy {ranks.policy}, reference rank {ranks.r_ref}, "
        f"step {facts.steps}{training}"
    )
    _show_events(record)
    maps = maps_in_force(facts)
    for grid in grids(maps[-1].ranks) if maps else ():
        ui.blank()
        ui.line(f"{grid.stack}, ranks since step {maps[-1].step}")
        _show_map(grid, ranks.r_ref, all_layers)
    if words := totals(facts).words():
        ui.blank()
        ui.line(words)


def _show_events(record: RankRecord) -> None:
    events = rank_events_table(record.facts)
    columns = [
        ui.Column(column.title, right=column.figures, prose=column.prose, drop=drop)
        for column, drop in zip(events.columns, (0, 0, 0, 4, 0, 2, 3, 0), strict=True)
    ]
    rows = []
    for step, kind, *rest in events.rows:
        name = _KINDS.get(kind.text, kind.text)
        rows.append((step.text, name, *(cell.text for cell in rest)))
    # A column that nothing is said in takes the room of one that speaks.
    used = [at for at in range(len(columns)) if any(row[at] not in ("", DASH) for row in rows)]
    ui.table([columns[at] for at in used], [[row[at] for at in used] for row in rows])


def _show_map(grid: RankGrid, r_ref: int, all_layers: bool) -> None:
    """Print a row for each layer, or for each run of layers that are alike."""
    groups: list[tuple[list[str], tuple[str, ...]]] = []
    for layer in grid.layers:
        cells = tuple(_rank(grid.cells.get((layer, p))) for p in grid.projections)
        if groups and groups[-1][1] == cells and not all_layers:
            groups[-1][0].append(layer)
        else:
            groups.append(([layer], cells))
    columns = [ui.Column("layers")]
    columns += [ui.Column(p.removesuffix("_proj"), right=True) for p in grid.projections]
    rows = [(_layers(layers), *cells) for layers, cells in groups]
    other = sum(1 for rank in grid.cells.values() if rank != r_ref)
    notes = [f"{other} of {len(grid.cells)} modules differ from {r_ref}"]
    if len(groups) < len(grid.layers):
        notes.append("Equal layers stand together; --all shows each.")
    ui.table(columns, rows, notes)


def _layers(layers: Sequence[str]) -> str:
    return layers[0] if len(layers) == 1 else f"{layers[0]}-{layers[-1]}"


def _rank(rank: int | None) -> str:
    return "" if rank is None else str(rank)


def record_data(record: RankRecord) -> dict[str, Any]:
    """Return the same for programs: the events as recorded, the last map, the totals."""
    sums = totals(record.facts)
    maps = record.history.maps()
    final = [{"step": at, "digest": m.digest(), "ranks": dict(m)} for at, m in maps[-1:]]
    return {
        "policy": record.config.ranks.policy,
        "r_ref": record.config.ranks.r_ref,
        "steps": record.facts.steps,
        "finished": record.finished,
        "events": [event.to_json() for event in record.history.read()],
        "final": final[0] if final else None,
        "totals": {**dataclasses.asdict(sums), "acted": sums.acted},
    }
