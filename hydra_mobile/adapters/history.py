"""The rank history of a run: ranks.jsonl, one event a line, from the first map to the last.

The record from which ranks are shown, drawn and trained again. Pure data: knows no torch, no cost
of a rank and no reason for a choice; whoever decides writes the events.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.boundaries import writing
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.integrity import CHECK, checked_line, is_sound_line
from hydra_mobile.core.json_text import dumps, loads
from hydra_mobile.core.typed import Range, decode

SCHEMA = 1
FILE = "ranks.jsonl"

Kind = Literal["initial", "allocate", "move", "abstain", "observe", "freeze", "resized"]
"""first map; map from importance; ranks moved; map kept; a probe's result; no more events; a
recorded map applied by a replay."""

_SETTING = ("initial", "allocate", "move", "resized")


@dataclass(frozen=True)
class RankEvent:
    """One line of ranks.jsonl.

    Attributes:
        step: optimizer steps of stage II done when it happened.
        event: what happened.
        policy: name of the rank policy.
        reason: a sentence for people.
        parameters: LoRA parameters of the current map after the event.
        reference: parameters of uniform LoRA at the reference rank.
        digest: `RankMap.digest()` of the current map after the event.
        ranks: the whole map, where the event set one.
        changed: `{module: (old rank, new rank)}` of the modules that changed.
        move: `{"from": cell, "to": cell}`, a cell being "group/projection".
        prediction: what the performance model said; `gain` and `lower` in nats of held-out loss,
            positive when the moved map is better. Numbers may be None.
        realised: what a probe measured, in the same unit and sense.
        probe: what it cost: `steps` and `seconds`.
        extra: keys of the line that this version does not know, kept as they are.
    """

    step: Annotated[int, Range(minimum=0)]
    event: Kind
    policy: str = ""
    reason: str = ""
    parameters: int | None = None
    reference: int | None = None
    digest: str = ""
    ranks: Mapping[str, int] | None = None
    changed: Mapping[str, tuple[int, int]] | None = None
    move: Mapping[str, str] | None = None
    prediction: Mapping[str, Any] | None = None
    realised: Mapping[str, Any] | None = None
    probe: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the line's object; keys without a value are left out."""
        value: dict[str, Any] = {"schema": SCHEMA}
        for name in _KEYS:
            item = getattr(self, name)
            if item is not None and item != "":
                value[name] = dict(item) if isinstance(item, Mapping) else item
        if self.changed is not None:
            value["changed"] = {name: list(pair) for name, pair in self.changed.items()}
        return {**value, **self.extra}

    @classmethod
    def from_json(cls, value: object, source: str = "rank event") -> RankEvent:
        """Read a line's object. Only `step` and `event` must be there.

        Args:
            value: what JSON gave; a line without `schema` is of the first schema.
            source: names the line in messages.

        Raises:
            ArtifactError: another schema, an unknown event, or a value of the wrong kind.
        """
        if not isinstance(value, dict):
            raise ArtifactError(f"{source} is not an event: found {value!r}, expected an object.")
        schema = value.get("schema", SCHEMA)
        if schema != SCHEMA or isinstance(schema, bool):
            raise ArtifactError(
                f"{source} has schema {schema!r}; this version reads {SCHEMA}.",
                "Read it with the version of hydra-mobile that wrote it, or a newer one.",
            )
        given = {name: value[name] for name in _KEYS if value.get(name) is not None}
        event = decode(cls, given, source)
        if event.ranks is not None:
            _rank_map(event.ranks, event.digest, source)
        extra = {
            name: item for name, item in value.items() if name not in {*_KEYS, "schema", CHECK}
        }
        return replace(event, extra=extra)


_KEYS = tuple(f.name for f in fields(RankEvent) if f.name != "extra")


class RankHistory:
    """The file ranks.jsonl of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_run(cls, run: Path) -> RankHistory:
        """Return the history of a run folder, whether or not it is there yet."""
        return cls(run / FILE)

    def append(self, event: Mapping[str, Any]) -> RankEvent:
        """Add one line and hand it to the operating system at once.

        A last line that a kill cut short is removed first. `schema` is added; numbers that JSON
        does not know (not-a-number, infinity) become null.

        Args:
            event: the keys of `RankEvent`.

        Raises:
            ArtifactError: the event is not one that could be read back.
        """
        value = _finite({"schema": SCHEMA, **event})
        made = RankEvent.from_json(value, f"a new event for {self.path}")
        line = dumps(checked_line(value)).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with writing(self.path), self.path.open("ab+") as handle:
            handle.seek(0)
            whole, rest = _split(handle.read())
            if rest:
                handle.truncate(len(whole))
            # One write: the line is there or is not, save for a kill inside the system call.
            handle.write(line if not whole or whole.endswith(b"\n") else b"\n" + line)
        return made

    def read(self) -> list[RankEvent]:
        """Return all whole events, in the order written; none when there is no file yet.

        A last line cut short by a kill is left out.

        Raises:
            ArtifactError: another line is broken; names the file and the line.
        """
        return [event for event, _ in self._lines()]

    def keep_until(self, step: int) -> None:
        """Drop the events after `step`, and a last line cut short; events at `step` stay.

        Atomic. Called when a run goes on from a checkpoint of `step`.
        """
        if not self.path.exists():
            return
        kept = [line for event, line in self._lines() if event.step <= step]
        with write_atomically(self.path) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in kept))

    def maps(self) -> list[tuple[int, RankMap]]:
        """Return `(step, map)` for every map and the step from which it was in force.

        Of several maps set at one step the last counts; a map equal to the one before is left out.

        Raises:
            ArtifactError: a line is broken, or the ranks of an event cannot be known from it.
        """
        found: list[tuple[int, RankMap]] = []
        for event, rank_map in self.in_force():
            if rank_map is None or event.event not in _SETTING:
                continue
            if found and found[-1][0] == event.step:
                found.pop()
            if not found or found[-1][1] != rank_map:
                found.append((event.step, rank_map))
        return found

    def in_force(self) -> list[tuple[RankEvent, RankMap | None]]:
        """Return every event with the current map after it; None before the first map.

        Raises:
            ArtifactError: as `maps`.
        """
        found: list[tuple[RankEvent, RankMap | None]] = []
        current: RankMap | None = None
        for event in self.read():
            if event.event in _SETTING:
                current = self._map_after(event, current)
            found.append((event, current))
        return found

    def final_map(self) -> RankMap:
        """Return the last map.

        Raises:
            ArtifactError: the file is missing or holds no map.
        """
        if not self.path.exists():
            raise ArtifactError(f"{self.path} is missing: expected the rank history of a run.")
        maps = self.maps()
        if not maps:
            raise ArtifactError(f"{self.path} holds no rank map.", "Name the file of another run.")
        return maps[-1][1]

    def _lines(self) -> list[tuple[RankEvent, bytes]]:
        if not self.path.exists():
            return []
        whole, _ = _split(self.path.read_bytes())
        found = []
        for number, line in enumerate(whole.split(b"\n"), 1):
            if not line.strip():
                continue
            where = f"{self.path}, line {number}"
            try:
                value = loads(line)
            except (ValueError, RecursionError) as error:
                raise ArtifactError(
                    f"{where}, is not readable JSON ({error}).",
                    "Only the last line may be cut short: the file was altered. Remove the line "
                    "if you can do without its event.",
                ) from error
            if isinstance(value, dict) and not is_sound_line(value):
                raise ArtifactError(
                    f"{where}, was altered: it has another `{CHECK}` than its content.",
                    "Take the file from the run again, or remove the line if you can do without "
                    "its event.",
                )
            found.append((RankEvent.from_json(value, where), line))
        return found

    def _map_after(self, event: RankEvent, current: RankMap | None) -> RankMap:
        where = f"{self.path}, the event `{event.event}` of step {event.step},"
        if event.ranks is not None:
            return RankMap(event.ranks)
        if event.changed is not None and current is not None:
            new = {name: rank for name, (_, rank) in event.changed.items()}
            return _rank_map({**current, **new}, event.digest, where)
        if current is not None and event.digest == current.digest():
            return current
        # Runs made before maps were written into the history have theirs in a separate file.
        legacy = self.path.parent / "rank_map.json"
        if legacy.is_file():
            rank_map = RankMap.read(legacy)
            if rank_map.digest() == event.digest:
                return rank_map
        raise ArtifactError(
            f"{where} holds neither its ranks nor what changed.",
            "The map of that step is lost; train again to record it.",
        )


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Return the file's whole lines, and the rest that a kill left of the last one."""
    end = content.rfind(b"\n") + 1
    tail = content[end:]
    try:
        json.loads(tail)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            return content[:end], tail
        # A whole object and something behind it: no kill does that, the line was altered.
    except (ValueError, RecursionError):
        return content[:end], tail
    # Cut between the object and its line break: nothing is lost.
    return content, b""


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _rank_map(ranks: Mapping[str, int], digest: str, source: str) -> RankMap:
    try:
        rank_map = RankMap(ranks)
    except ValueError as error:
        raise ArtifactError(f"{source}: {error}.") from None
    if digest and digest != rank_map.digest():
        raise ArtifactError(
            f"{source}: the ranks do not have the digest written with them.",
            "The file was altered; take it from the run again.",
        )
    return rank_map
