"""`hydra-mobile devices`: where bundles run outside of this process."""

from __future__ import annotations

import typer

app = typer.Typer(help="Machines that run bundles: this one natively, an emulated arm64.")


@app.callback()
def _devices() -> None:
    pass


@app.command()
def setup() -> None:
    """Build the native runner for this machine and for arm64; name the packages that are missing.

    What is built already stays; the exit code is 2 while something is missing.
    """
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_mobile.devices import emulator
    from hydra_mobile.devices.native_build import ARM64, host, missing_packages, native_runner
    from hydra_mobile.errors import HydraError

    missing = dict.fromkeys(
        [*missing_packages(host()), *missing_packages(ARM64), *emulator.missing_packages()]
    )
    for machine in (host(), ARM64):
        if not missing_packages(machine):
            say(f"{machine.name}: {native_runner(machine, say)}")
    if missing:
        raise HydraError(
            f"Not installed: {', '.join(missing)}.",
            f"On Debian: apt-get install {' '.join(missing)}",
        )
    say(f"emulator: {emulator.EXECUTION}")
