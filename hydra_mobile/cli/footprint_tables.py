"""A bundle's memory on the terminal: what it is for, and which phones it fits."""

from __future__ import annotations

from typing import Any

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.memory.footprint import Footprint
from hydra_mobile.bundle.memory.phones import (
    CLASSES,
    PROCESS_BYTES,
    SHARE,
    SMALL_SHARE,
    fit_on,
)
from hydra_mobile.cli import ui
from hydra_mobile.cli.ui.formats import mebibytes

_PARTS = {
    "weights": "weights, as the runtime holds them",
    "cache": "key-value cache",
    "tokenizer": "tokenizer",
    "runtime": "runtime",
    "loading": "largest weight, twice while loading",
    "picture": "picture and vision encoder",
    "prefill": "prefill and logits",
}
_RESTING = ("weights", "cache", "tokenizer", "runtime")
ASSUMED = (
    f"Assumed, not measured: an app may use {SMALL_SHARE:.0%} of a phone below 6 GiB and "
    f"{SHARE:.0%} of a larger one."
)


def show_footprint(footprint: Footprint, basis: str) -> None:
    """Print the parts of a footprint, in MiB, and how far its numbers can be trusted."""
    values = footprint.to_dict()
    rows = [(_PARTS[part], mebibytes(values[part])) for part in _RESTING]
    rows.append(("while it waits", mebibytes(footprint.resting)))
    rows += [
        (f"{_PARTS[part]} (one after the other)", mebibytes(values[part]))
        for part in ("loading", "picture", "prefill")
    ]
    rows.append(("at its peak", mebibytes(footprint.peak)))
    rows.append(("with the app around it (assumed)", mebibytes(footprint.peak + PROCESS_BYTES)))
    ui.table([ui.Column("memory"), ui.Column("MiB", right=True)], rows, [f"Numbers: {basis}."])


def show_phones(footprint: Footprint, memory_gib: float = 0.0) -> None:
    """Print which phones a footprint fits, the one that was asked for last."""
    rows = []
    for memory in (*CLASSES, *([memory_gib] if memory_gib else [])):
        fit = fit_on(footprint, memory)
        word = "fits" if fit.fits else "does NOT fit"
        rows.append((f"{memory:g} GiB", mebibytes(fit.usable), mebibytes(fit.needed), word))
    columns = [ui.Column("phone memory"), ui.Column("an app may use, MiB", right=True)]
    columns += [ui.Column("needed, MiB", right=True), ui.Column("result")]
    ui.table(columns, rows, [ASSUMED])


def show_fits(bundle: Bundle) -> None:
    """Print which phones a bundle fits."""
    from hydra_export.targets import target_of

    show_phones(target_of(bundle.manifest).memory(bundle.manifest))


def fits_data(bundle: Bundle, memory_gib: float = 0.0) -> dict[str, Any]:
    """Return a bundle's memory for programs, in bytes."""
    from hydra_export.targets import target_of

    target = target_of(bundle.manifest)
    footprint = target.memory(bundle.manifest)
    data: dict[str, Any] = {
        "basis": target.memory_basis,
        "bytes": footprint.to_dict(),
        "phones": [_phone(footprint, memory) for memory in CLASSES],
    }
    if memory_gib:
        data["asked"] = _phone(footprint, memory_gib)
    return data


def _phone(footprint: Footprint, memory: float) -> dict[str, Any]:
    fit = fit_on(footprint, memory)
    return {
        "memory_gib": fit.memory_gib,
        "usable_bytes": fit.usable,
        "needed_bytes": fit.needed,
        "fits": fit.fits,
    }
