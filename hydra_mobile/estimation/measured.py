"""How long this machine took for work of a kind, and how much memory: the basis of estimates.

A file in the cache keeps the last measurement of each kind, by a key that names everything which
decides the time. What was never measured here has no estimate.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import cache_home, json_if_sound, write_json
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.core.typed import Range, decode

_FILE = "measured.json"
_SCHEMA = 1
#: Older ones go.
_KEPT = 200


@dataclass(frozen=True)
class Measured:
    """A finished piece of work.

    Attributes:
        units: how much work it was, for example training steps.
        seconds: wall time.
        peak_bytes: of the process's memory; None where something before it reached more.
        when: end, in seconds since 1970.
    """

    units: Annotated[float, Range(minimum=1e-3, maximum=1e9)]
    seconds: Annotated[float, Range(minimum=0, maximum=1e9)]
    peak_bytes: Annotated[int, Range(minimum=0, maximum=1 << 50)] | None
    when: Annotated[float, Range(minimum=0, maximum=1e10)]


def last_measured(key: str) -> Measured | None:
    """Return the last measurement of a kind on this machine."""
    value = _read().get(key)
    # A file of another version, or one that somebody edited, is no measurement.
    with contextlib.suppress(ArtifactError):
        found = decode(Measured, value, key, complete=True)
        return found if found.seconds > 0 else None
    return None


def remember(key: str, units: float, seconds: float, peak_bytes: int | None) -> None:
    """Keep a measurement in place of the last of its kind; a full or locked disk keeps none."""
    entries = _read()
    entries.pop(key, None)
    entries[key] = asdict(Measured(units, seconds, peak_bytes, time.time()))
    kept = dict(list(entries.items())[-_KEPT:])
    with contextlib.suppress(OSError, HydraError):
        file = cache_home() / _FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"schema": _SCHEMA, "measured": kept})


@contextlib.contextmanager
def measuring(key: str, units: float = 1.0, *, here: bool = True) -> Iterator[None]:
    """Measure the block and remember it unless it fails or is interrupted.

    Args:
        key: of the kind of work.
        units: how much work it is.
        here: whether this process does the work, and so has its memory.
    """
    before, began = peak_resident_bytes(), time.monotonic()
    yield
    seconds, peak = time.monotonic() - began, peak_resident_bytes()
    remember(key, units, seconds, peak if here and peak > before else None)


def _read() -> dict[str, object]:
    value = json_if_sound(cache_home() / _FILE)
    if value.get("schema") != _SCHEMA:
        return {}
    found = value.get("measured")
    return found if isinstance(found, dict) else {}
