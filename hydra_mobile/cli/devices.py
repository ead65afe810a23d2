"""`hydra-mobile devices`: where bundles run outside of this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import existing
from hydra_mobile.cli.ui.formats import megabytes
from hydra_mobile.core.errors import MissingPackageError

if TYPE_CHECKING:
    from hydra_mobile.devices.device import Listed

app = ui.new_app("List or set up phones and the emulator.", default="list")


def list_(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="Bundle: does it fit there?")
    ] = None,
) -> ui.Result:
    """List where bundles run, and whether a bundle fits there."""
    if bundle:
        existing(bundle, "BUNDLE")
    ui.prepare()
    from hydra_mobile.bundle.bundle import Bundle
    from hydra_mobile.devices.listing import places

    opened = Bundle.open(bundle, verify_hashes=False) if bundle else None
    found = places(opened)
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
    from hydra_mobile.devices import emulator
    from hydra_mobile.devices.android import runner
    from hydra_mobile.devices.native_build import (
        ARM64,
        android_runner,
        host,
        missing_packages,
        native_runner,
    )

    missing = dict.fromkeys(
        [*missing_packages(host()), *missing_packages(ARM64), *emulator.missing_packages()]
    )
    built = {}
    for machine in (host(), ARM64):
        if not missing_packages(machine):
            built[machine.name] = native_runner(machine, ui.say)
            ui.step(machine.name, str(built[machine.name]))
    if android:
        missing |= dict.fromkeys(runner.missing_packages())
        if not runner.missing_packages():
            built[f"android-{runner.ABI}"] = android_runner(ui.say)
            ui.step(f"Android {runner.ABI}", str(built[f"android-{runner.ABI}"]))
    if missing:
        raise MissingPackageError(
            "a runner cannot be built",
            f"on Debian: sudo apt-get install {' '.join(missing)}",
            found=f"not installed: {', '.join(missing)}",
            kept="\n".join(str(path) for path in built.values()),
        )
    ui.step("emulator", emulator.EXECUTION)
    ui.line("All runners are here.")
    return ui.Result({"runners": built}, next=["hydra-mobile devices"])


ui.add(app, list_, "list", schema="devices-list")
ui.add(app, setup, schema="devices-setup")
