"""Another place for a bundle to run than this process: what `--device` names.

host            this process, with each runtime's own Python package
native          the C++ runner on this machine
emulator        the same for arm64 under qemu
adb[:SERIAL]    the same on a phone or board
app[:SERIAL]    the demo app's benchmark mode on a phone
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.registry import nearest
from hydra_mobile.runtimes.model_ref import DEVICE_RUNNERS, ModelRef

if TYPE_CHECKING:
    from hydra_mobile.runtimes.native import NativeRuntime

#: Devices that have a runner of the same name.
DEVICES = ("native", "emulator")
#: The one that Python runs on, with each runtime's own Python package.
HOST = "host"


def moved(artifacts: list[ModelRef], device: str) -> list[ModelRef]:
    """Return the artifacts as they run on a device: its bundles there, eager torch here.

    Args:
        artifacts: at least one of them a bundle that the device runs, unless that is the host.
        device: see above. A serial goes into ANDROID_SERIAL, where the workers find it.

    Raises:
        HydraError: an unknown device, none that is connected, a bundle of a runtime that it does
            not have, no bundle at all, or the runner for it cannot be built.
    """
    if device == HOST:
        return artifacts
    kind = device.partition(":")[0]
    runner = None if kind in DEVICE_RUNNERS else _runner_on(device)
    for artifact in artifacts:
        # The app has more runtimes than the native runner, and says itself which.
        if artifact.kind == "bundle" and artifact.runner != "executorch" and kind != "app":
            raise HydraError(
                f"{artifact.path} is a bundle for {artifact.runner}; --device {device} runs "
                "ExecuTorch bundles.",
                "Evaluate it without --device.",
            )
    if not any(artifact.kind == "bundle" for artifact in artifacts):
        raise HydraError(
            f"--device {device} runs bundles, and there is none among the artifacts.",
            "Make one with `hydra-mobile export --attention manual`.",
        )
    if runner is None:
        place = _phone(device)
        return [_there(a, kind, place, place) if a.kind == "bundle" else a for a in artifacts]
    runner.command()  # built before the first question, and not by several processes at once
    return [_there(a, device, runner.execution, "") if a.kind == "bundle" else a for a in artifacts]


def runner_on(device: str, bundle: Path) -> NativeRuntime | None:
    """Return a loaded runner of a bundle on a device; None for the host.

    Raises:
        HydraError: an unknown device, or the runner for it cannot be built.
        ArtifactError: the bundle is incomplete, altered, or cannot run there.
    """
    kind, _, serial = device.partition(":")
    if kind == "app":
        raise HydraError(
            "The demo app answers whole questions, and verify asks for single calls.",
            "Use --device adb, or evaluate with --device app.",
        )
    if kind == "adb":
        from hydra_mobile.runtimes.adb import AdbRuntime

        return AdbRuntime.load_on(serial or None, bundle)
    return None if device == HOST else _runner_on(device).load(bundle)


def _there(artifact: ModelRef, runner: str, place: str, recipe: str) -> ModelRef:
    """Return an artifact on a device; another device's answers lie elsewhere."""
    return dataclasses.replace(
        artifact,
        runner=runner,
        name=f"{artifact.name} ({place})",
        recipe=f"{artifact.recipe}{recipe}",
    )


def _phone(device: str) -> str:
    """Choose the phone for this process and those that it starts; return what to call it."""
    from hydra_mobile.devices.adb import SERIAL_VARIABLE, select
    from hydra_mobile.devices.facts import facts_of
    from hydra_mobile.devices.launch import LAUNCHER_VARIABLE

    kind, _, serial = device.partition(":")
    remote = select(serial or None)
    os.environ[SERIAL_VARIABLE] = remote.serial
    facts = facts_of(remote)
    name = f"{facts.model} {remote.serial}" if facts.model else remote.serial
    if kind == "app":
        return f"app on {name}"
    return f"{name}, emulated: no timings" if os.environ.get(LAUNCHER_VARIABLE) else name


def _runner_on(device: str) -> type[NativeRuntime]:
    from hydra_mobile.runtimes import runtime_class

    if device not in DEVICES:
        valid = (HOST, *DEVICES, *(f"{kind}[:SERIAL]" for kind in DEVICE_RUNNERS))
        raise HydraError(f"--device is `{device}`.", nearest(device, valid))
    return cast("type[NativeRuntime]", runtime_class(device))
