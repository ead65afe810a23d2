"""`hydra-mobile devices`: where bundles run outside of this process."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(
    help="Machines that run bundles: this one natively, an emulated arm64, phones over adb.",
    invoke_without_command=True,
)


@app.callback()
def _devices(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_(None, None)


@app.command("list")
def list_(
    bundle: Path | None = typer.Argument(None, help="Bundle: does it fit?"),
    json: Path | None = typer.Option(None, help="File to write all facts to."),
) -> None:
    """List what is there: model, processor, Android, memory; and whether a bundle fits."""
    from hydra_mobile.cli.console import console, prepare

    prepare()
    from hydra_mobile.bundle.bundle import Bundle
    from hydra_mobile.core.files import write_json
    from hydra_mobile.devices.listing import places

    opened = Bundle.open(bundle, verify_hashes=False) if bundle else None
    for place in places(opened):
        facts = place.facts
        about = ""
        if facts:
            memory = (
                f", {facts.available_bytes / 1e9:.1f} of {facts.memory_bytes / 1e9:.1f} GB free"
                if facts.available_bytes and facts.memory_bytes
                else ""
            )
            about = f": {facts.title}, {' '.join(facts.abis)}{memory}"
        lines = [f"--device {place.option}  {place.state}{about}"]
        if place.misfits is not None and place.needed_bytes is not None:
            fits = "; ".join(place.misfits)
            estimate = f"about {place.needed_bytes / 1e6:.0f} MB at its peak"
            lines.append(f"    does NOT fit: {fits}" if fits else f"    fits: {estimate}")
        console.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)
    if json:
        write_json(json, {"places": [place.to_dict() for place in places(opened)]})


@app.command()
def setup() -> None:
    """Build the native runner for this machine and for arm64; name the packages that are missing.

    What is built already stays; the exit code is 2 while something is missing.
    """
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_mobile.core.errors import HydraError
    from hydra_mobile.devices import emulator
    from hydra_mobile.devices.native_build import ARM64, host, missing_packages, native_runner

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
