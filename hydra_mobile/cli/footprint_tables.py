"""A bundle's memory on the terminal: what it is for, and which phones it fits."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from hydra_mobile.bundle.memory.footprint import MIB, Footprint
from hydra_mobile.bundle.memory.phones import (
    CLASSES,
    PROCESS_BYTES,
    SHARE,
    SMALL_SHARE,
    Fit,
    fit_on,
)

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


def print_footprint(
    title: str, footprint: Footprint, basis: str, memory_gib: float, console: Console
) -> None:
    """Print the parts of a footprint and the phones it fits, in at most 80 columns.

    Args:
        title: the first line.
        footprint: of the bundle.
        basis: how far its numbers can be trusted.
        memory_gib: the phone that was asked for.
        console: where to.
    """
    console.print(title, style="bold", soft_wrap=True)
    values = footprint.to_dict()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("memory")
    table.add_column("MiB", justify="right")
    for part in _RESTING:
        table.add_row(_PARTS[part], _mib(values[part]))
    table.add_row("while it waits", _mib(footprint.resting), end_section=True)
    for part in ("loading", "picture", "prefill"):
        table.add_row(f"{_PARTS[part]} (one after the other)", _mib(values[part]))
    table.add_row("at its peak", _mib(footprint.peak))
    table.add_row("with the app around it (assumed)", _mib(footprint.peak + PROCESS_BYTES))
    console.print(table)
    for memory in CLASSES:
        console.print(_verdict(fit_on(footprint, memory)), soft_wrap=True)
    console.print("asked: " + _verdict(fit_on(footprint, memory_gib)), style="bold", soft_wrap=True)
    console.print(f"Numbers: {basis}.", style="dim", soft_wrap=True)
    console.print(
        f"Assumed, not measured: an app may use {SMALL_SHARE:.0%} of a phone below 6 GiB and "
        f"{SHARE:.0%} of a larger one.",
        style="dim",
        soft_wrap=True,
    )


def _verdict(fit: Fit) -> str:
    """Return one line, for example "phone with 6 GiB: fits, 420 of 3072 MiB"."""
    word = "fits" if fit.fits else "does NOT fit"
    return (
        f"phone with {fit.memory_gib:g} GiB: {word}, {_mib(fit.needed)} of the {_mib(fit.usable)} "
        "MiB that an app may use"
    )


def _mib(count: int) -> str:
    return f"{count / MIB:.0f}" if count >= 10 * MIB else f"{count / MIB:.1f}"
