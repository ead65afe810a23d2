"""From a run's ranks.jsonl to the facts that reports, tables and pictures show.

Reads the run folder and nothing else, so that it works while the run still trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.adapters.history import RankEvent, RankHistory
from hydra_mobile.reporting.training_section import RankEventFacts, RankHistorySection


def rank_history(run: Path, steps: int) -> RankHistorySection | None:
    """Return the history of a run folder; None when it has none.

    Args:
        run: the run folder.
        steps: steps of stage II done.

    Raises:
        ArtifactError: the history is damaged, or a map cannot be known from it.
    """
    found = RankHistory.of_run(run).in_force()
    if not found:
        return None
    realised = measured_gains([event for event, _ in found])
    facts: list[RankEventFacts] = []
    ranks: dict[str, int] = {}
    for i, (event, rank_map) in enumerate(found):
        # A module that lost its adapter is at rank 0 from then on, not gone.
        new = {**dict.fromkeys(ranks, 0), **rank_map} if rank_map else {}
        changed = {name: rank for name, rank in new.items() if ranks.get(name) != rank}
        facts.append(_facts(event, changed, len(ranks), realised.get(i)))
        ranks = new
    return RankHistorySection(steps, tuple(facts))


def measured_gains(events: Sequence[RankEvent]) -> dict[int, float]:
    """Return the measured gain of moves, by their place in `events`.

    A move is measured by the next probe of the same move, or by one of the same step that was
    recorded just before it. A probe that says `made: false` compared a map that was not taken.
    """
    found: dict[int, float] = {}
    for i, event in enumerate(events):
        gain = _number(event.realised, "gain")
        if event.event != "observe" or gain is None or not event.move:
            continue
        if (event.realised or {}).get("made") is False:
            continue
        same = [
            j for j, e in enumerate(events)
            if e.event == "move" and e.move == event.move and j not in found
            and (j < i or e.step == event.step)
        ]  # fmt: skip
        before = [j for j in same if j < i]
        if same:
            found[before[-1] if before else same[0]] = gain
    return found


def _facts(
    event: RankEvent, changed: dict[str, int], known: int, measured: float | None
) -> RankEventFacts:
    steps = _number(event.probe, "steps")
    return RankEventFacts(
        step=event.step,
        kind=event.event,
        reason=event.reason,
        moved=_moved(event, changed, known),
        ranks=changed,
        parameters=event.parameters,
        reference=event.reference,
        predicted_gain=_number(event.prediction, "gain"),
        # A move's own gain is what the check before it saw; a probe afterwards saw more.
        realised_gain=_number(event.realised, "gain") if measured is None else measured,
        probe_steps=None if steps is None else round(steps),
        probe_seconds=_number(event.probe, "seconds"),
    )


def _moved(event: RankEvent, changed: dict[str, int], known: int) -> str:
    if event.event == "move" or (event.event == "observe" and event.move):
        cells = event.move or {}
        cell = f"{cells.get('from', '?')} → {cells.get('to', '?')}"
        return f"{cell}, {_modules(len(changed))}" if changed else cell
    if not changed:
        return ""
    low, high = min(changed.values()), max(changed.values())
    if not known:
        ranks = f"rank {low}" if low == high else f"ranks {low} to {high}"
        return f"{_modules(len(changed))}, {ranks}"
    return f"{len(changed)} of {_modules(known)}, to ranks {low} to {high}"


def _modules(number: int) -> str:
    return f"{number} module" if number == 1 else f"{number} modules"


def _number(values: Mapping[str, Any] | None, key: str) -> float | None:
    value = (values or {}).get(key)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and value is not None else None
