"""A bundle's memory on the terminal: what it is for, and which phones it fits."""

from __future__ import annotations

from hydra_mobile.api.estimate import PhoneMemory
from hydra_mobile.bundle.memory.phones import PROCESS_BYTES, SHARE, SMALL_SHARE
from hydra_mobile.cli import ui
from hydra_mobile.cli.ui.formats import mebibytes

_PARTS = {
    "weights": "weights, as the runtime holds them",
    "cache": "key-value cache",
    "tokenizer": "tokenizer",
    "runtime": "runtime",
    "loading": "largest weight, twice while loading",
    "picture": "image and vision encoder",
    "prefill": "prefill and logits",
}
_RESTING = ("weights", "cache", "tokenizer", "runtime")
ASSUMED = (
    f"Assumed, not measured: an app may use {SMALL_SHARE:.0%} of a phone below 6 GiB and "
    f"{SHARE:.0%} of a larger one."
)


def show_footprint(memory: PhoneMemory) -> None:
    """Print the parts of a footprint, in MiB, and how far its numbers can be trusted."""
    footprint = memory.footprint
    values = footprint.to_dict()
    rows = [(_PARTS[part], mebibytes(values[part])) for part in _RESTING]
    rows.append(("while it waits", mebibytes(footprint.resting)))
    rows += [
        (f"{_PARTS[part]} (one after the other)", mebibytes(values[part]))
        for part in ("loading", "picture", "prefill")
    ]
    rows.append(("at its peak", mebibytes(footprint.peak)))
    rows.append(("with the app around it (assumed)", mebibytes(footprint.peak + PROCESS_BYTES)))
    ui.table(
        [ui.Column("memory"), ui.Column("MiB", right=True)], rows, [f"Numbers: {memory.basis}."]
    )


def show_phones(memory: PhoneMemory) -> None:
    """Print which phones a bundle fits, the one that was asked for last."""
    rows = []
    for fit in memory.phones:
        word = "fits" if fit.fits else "does NOT fit"
        phone = f"{fit.memory_gib:g} GiB"
        rows.append((phone, mebibytes(fit.usable), mebibytes(fit.needed), word))
    columns = [ui.Column("phone memory"), ui.Column("an app may use, MiB", right=True)]
    columns += [ui.Column("needed, MiB", right=True), ui.Column("result")]
    ui.table(columns, rows, [ASSUMED])
