"""`hydra-mobile devices`: where bundles run outside of this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import opened
from hydra_mobile.cli.ui.formats import megabytes
from hydra_mobile.core.errors import MissingPackageError

if TYPE_CHECKING:
    from hydra_mobile.api.devices import Listed

app = ui.new_app("List or set up phones and the emulator.", default="list")


def list_(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="Bundle: does it fit there?")
    ] = None,
) -> ui.Result:
    """List where bundles run, and whether a bundle fits there."""
    folder = opened(bundle, "BUNDLE", names=False) if bundle else None
    ui.prepare()
    from hydra_mobile.api.devices import list_devices

    found = list_devices(folder)
    rows = [("host", "this computer, Python", "ready", "")]
    rows += [(place.option, _about(place), place.state, _fit(place)) for place in found]
    columns = [
        ui.Column("--device"),
        ui.Column("what it is", drop=1),
        ui.Column("state", prose=True),
    ]
    if bundle:
        columns.append(ui.Column("the bundle"))
    ui.table(columns, [row[: len(columns)] for row in rows])
    return ui.Result(
        {"places": [place.to_dict() for place in found]}, next=["hydra-mobile devices setup"]
    )


def _about(place: Listed) -> str:
    facts = place.facts
    if not facts:
        return ""
    memory = (
        f", {facts.available_bytes / 1e9:.1f} of {facts.memory_bytes / 1e9:.1f} GB free"
        if facts.available_bytes and facts.memory_bytes
        else ""
    )
    return f"{facts.title}, {' '.join(facts.abis)}{memory}"


def _fit(place: Listed) -> str:
    if place.misfits is None or place.needed_bytes is None:
        return ""
    if place.misfits:
        return f"does not fit: {'; '.join(place.misfits)}"
    return f"fits, {megabytes(place.needed_bytes)}"


def setup(
    android: Annotated[
        bool,
        typer.Option(
            "--android",
            help="For Android arm64-v8a too: a pinned compiler and ExecuTorch, about 120 MB once.",
        ),
    ] = False,
) -> ui.Result:
    """Build the native runner for this machine and for arm64.

    What is built stays. Packages that are missing are named; the exit code is then 2.
    """
    ui.title("Setting up runners")
    ui.prepare()
    from hydra_mobile.api.devices import set_up_devices

    found = set_up_devices(android=android, log=ui.say)
    for name, program in found.programs.items():
        ui.step(name, str(program))
    if found.missing:
        raise MissingPackageError(
            "a runner cannot be built",
            f"on Debian: sudo apt-get install {' '.join(found.missing)}",
            found=f"not installed: {', '.join(found.missing)}",
            kept="\n".join(str(path) for path in found.programs.values()),
        )
    ui.step("emulator", found.emulator)
    ui.line("All runners are here.")
    return ui.Result({"runners": found.programs}, next=["hydra-mobile devices"])


ui.add(app, list_, "list", schema="devices-list")
ui.add(app, setup, schema="devices-setup")
