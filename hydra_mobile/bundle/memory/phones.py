"""Which phones a footprint fits: memory of the phone against what an app may use of it.

The shares are assumptions, not measurements, and deliberately on the careful side. Android kills
the app in front only when all others are gone, and holds a third to a half of a phone's memory
itself; iOS ends an app at about half of the memory of phones with 4 GiB or more. Below 6 GiB the
system's part weighs more, so an app gets less. `PROCESS_BYTES` stands for a plain app with one
camera picture on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass

from hydra_mobile.bundle.memory.footprint import MIB, Footprint

GIB = 2**30
#: Memory of the phone classes that a bundle is judged for, in GiB.
CLASSES = (4, 6, 8, 12)
#: Share of the phone's memory that one app may use: below 6 GiB, and from there on.
SMALL_SHARE, SHARE = 0.35, 0.5
_SMALL_BELOW = 6
#: An app with a picture on the screen and no model.
PROCESS_BYTES = 160 * MIB


@dataclass(frozen=True)
class Fit:
    """A footprint on one phone.

    Attributes:
        memory_gib: the phone's memory.
        usable: bytes of it that an app may use.
        needed: bytes of the app with the model, at its peak.
    """

    memory_gib: float
    usable: int
    needed: int

    @property
    def fits(self) -> bool:
        """Whether the app stays within its share."""
        return self.needed <= self.usable


def usable_bytes(memory_gib: float) -> int:
    """Return what one app may use of a phone with `memory_gib` GiB."""
    share = SMALL_SHARE if memory_gib < _SMALL_BELOW else SHARE
    return int(share * memory_gib * GIB)


def fit_on(footprint: Footprint, memory_gib: float) -> Fit:
    """Judge `footprint` on a phone with `memory_gib` GiB."""
    return Fit(memory_gib, usable_bytes(memory_gib), PROCESS_BYTES + footprint.peak)


def facts(footprint: Footprint, basis: str) -> dict[str, object]:
    """Return the manifest's `footprint`: bytes by part, and the phone classes that it fits."""
    fits = [fit_on(footprint, memory) for memory in CLASSES]
    return {
        **footprint.to_dict(),
        "app": PROCESS_BYTES,
        "basis": basis,
        "fits_gib": [fit.memory_gib for fit in fits if fit.fits],
    }
