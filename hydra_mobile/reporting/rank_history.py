"""What the rank history says: the maps in force, mean ranks over the steps, totals.

Arithmetic only: pictures, tables and the command line show what is worked out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_mobile.reporting.formats import count, duration, percent
from hydra_mobile.reporting.ranks import grids
from hydra_mobile.reporting.training_section import RankEventFacts, RankHistorySection

MOST_PANELS = 8


@dataclass(frozen=True)
class MapInForce:
    """A rank map, the step from which it held and the event that set it."""

    step: int
    kind: str
    ranks: dict[str, int]
    moved: str = ""

    @property
    def title(self) -> str:
        """What is written above the map."""
        words = {"initial": "the first map", "allocate": "from measured importance"}
        words["resized"] = "as recorded"
        return f"Step {self.step}: {words.get(self.kind, self.moved or self.kind)}"


def maps_in_force(history: RankHistorySection) -> list[MapInForce]:
    """Return the initial map and the map after each change; of one step, the last."""
    found: list[MapInForce] = []
    for event in history.events:
        if not event.ranks:
            continue
        ranks = {**(found[-1].ranks if found else {}), **event.ranks}
        if found and found[-1].step == event.step:
            found.pop()
        found.append(MapInForce(event.step, event.kind, ranks, event.moved))
    return found


def panels(maps: Sequence[MapInForce], most: int = MOST_PANELS) -> list[MapInForce]:
    """Return at most `most` maps, evenly chosen, the first and the last always among them."""
    if len(maps) <= most:
        return list(maps)
    chosen = {round(i * (len(maps) - 1) / (most - 1)) for i in range(most)}
    return [maps[i] for i in sorted(chosen)]


def mean_ranks(maps: Sequence[MapInForce]) -> dict[str, list[tuple[int, float]]]:
    """Return each projection's mean rank from each step on, projections in a block's order."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for at in maps:
        ranks: dict[str, list[int]] = {}
        for grid in grids(at.ranks):
            for projection in grid.projections:
                ranks.setdefault(projection, []).extend(grid.of_projection(projection))
        for projection, those in ranks.items():
            lines.setdefault(projection, []).append((at.step, sum(those) / len(those)))
    return lines


def stairs(points: Sequence[tuple[int, float]], last: int) -> list[tuple[int, float]]:
    """Return the corners of a line that holds each value until the next point's step."""
    corners = [points[0]]
    for step, value in points[1:]:
        corners += [(step, corners[-1][1]), (step, value)]
    return [*corners, (last, corners[-1][1])]


def spread_labels(places: Sequence[float], apart: float) -> list[float]:
    """Return places near the given ones, in the same order, at least `apart` from each other."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    # Runs of labels that would touch become one block around their middle.
    blocks: list[list[int]] = []
    tops: list[float] = []
    for i in order:
        blocks.append([i])
        tops.append(places[i])
        while len(blocks) > 1 and tops[-1] - tops[-2] < apart * len(blocks[-2]):
            merged = blocks[-2] + blocks[-1]
            middle = sum(places[j] for j in merged) / len(merged)
            blocks[-2:], tops[-2:] = [merged], [middle - apart * (len(merged) - 1) / 2]
    found = [0.0] * len(places)
    for block, top in zip(blocks, tops, strict=True):
        for k, i in enumerate(block):
            found[i] = top + apart * k
    return found


def last_step(history: RankHistorySection) -> int:
    """Return the last step that the history reaches, at least 1."""
    return max(1, history.steps, *(event.step for event in history.events))


@dataclass(frozen=True)
class RankTotals:
    """Counts over a history.

    Attributes:
        moves: events that moved ranks.
        abstentions: events that kept the map.
        probes: comparisons made.
        probe_steps: training steps they took.
        probe_seconds: time they took.
        compared: moves whose gain was both predicted and measured.
        same_sign: those of `compared` of which both gains have one sign.
    """

    moves: int
    abstentions: int
    probes: int
    probe_steps: int
    probe_seconds: float
    compared: int
    same_sign: int

    @property
    def acted(self) -> float | None:
        """Share of the events at which ranks moved; None without events."""
        events = self.moves + self.abstentions
        return self.moves / events if events else None

    def words(self) -> str:
        """Return the totals as one line; "" where nothing could move."""
        parts = []
        if self.acted is not None:
            parts += [
                f"{_plural(self.moves, 'move')}, ranks kept at "
                f"{_plural(self.abstentions, 'check')} (moved at {percent(self.acted, 0)}%)"
            ]
        if self.probes:
            parts += [
                f"{_plural(self.probes, 'probe')} of {count(self.probe_steps)} steps and "
                f"{duration(self.probe_seconds)} together"
            ]
        if self.compared:
            parts += [
                f"predicted and measured gain have the same sign in {self.same_sign} of "
                f"{_plural(self.compared, 'move')}"
            ]
        return "; ".join(parts)


def totals(history: RankHistorySection) -> RankTotals:
    """Count what happened."""
    events = history.events
    probed = [event for event in events if event.probe_steps is not None]
    pairs = [gains for event in events if event.kind == "move" and (gains := _gains(event))]
    return RankTotals(
        moves=sum(event.kind == "move" for event in events),
        abstentions=sum(event.kind == "abstain" for event in events),
        probes=len(probed),
        probe_steps=sum(event.probe_steps or 0 for event in probed),
        probe_seconds=sum(event.probe_seconds or 0.0 for event in probed),
        compared=len(pairs),
        same_sign=sum((predicted > 0) == (measured > 0) for predicted, measured in pairs),
    )


def _gains(event: RankEventFacts) -> tuple[float, float] | None:
    if event.predicted_gain is None or event.realised_gain is None:
        return None
    return event.predicted_gain, event.realised_gain


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
