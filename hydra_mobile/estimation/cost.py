"""What a piece of work will cost: time, memory and disk, each with where it is known from."""

from __future__ import annotations

import datetime
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hydra_mobile.estimation.measured import Measured, last_measured


@dataclass(frozen=True)
class Cost:
    """The cost of work that has not begun; None for what is not known.

    Attributes:
        seconds: wall time.
        peak_bytes: of memory.
        disk_bytes: what is written, at most.
        free_bytes: what the disk has.
        measured: when this machine did work of this kind, in seconds since 1970.
    """

    seconds: float | None = None
    peak_bytes: int | None = None
    disk_bytes: int | None = None
    free_bytes: int | None = None
    measured: float | None = None

    @property
    def basis(self) -> str:
        """Where time and memory are known from, in words."""
        if self.measured is None:
            return "no work of this kind was measured on this machine yet"
        day = datetime.datetime.fromtimestamp(self.measured).strftime("%Y-%m-%d %H:%M")
        return f"by this machine's last work of this kind, {day}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**vars(self), "basis": self.basis}


def cost_of(key: str, units: float | None, out: Path, disk_bytes: int | None = None) -> Cost:
    """Return the cost of work by what was measured of its kind.

    Args:
        key: of the kind, as `measured.remember` got it.
        units: how much work it is; None where that is not known, and then the time is not either.
        out: where results go.
        disk_bytes: how much they take, at most; None where that is not known.
    """
    found: Measured | None = last_measured(key)
    seconds = found.seconds / found.units * units if found and units else None
    return Cost(
        seconds,
        found.peak_bytes if found else None,
        disk_bytes,
        free_bytes_at(out),
        found.when if found and (seconds is not None or found.peak_bytes) else None,
    )


@dataclass(frozen=True)
class Machine:
    """This machine.

    Attributes:
        cores: CPU cores that this process may use.
        memory_bytes: of memory in all.
    """

    cores: int
    memory_bytes: int


def this_machine() -> Machine:
    """Return this machine's cores and memory."""
    ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return Machine(len(ours) or os.cpu_count() or 1, psutil.virtual_memory().total)


def free_bytes_at(path: Path) -> int:
    """Return the free bytes of the disk that `path` is or will be on."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free
