"""Artifacts on another device than this process: what `--device` names."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.registry import resolve
from hydra_mobile.devices import device_named
from hydra_mobile.devices.device import Device
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.base import Runtime
from hydra_mobile.runtimes.model_ref import ModelRef


def moved(artifacts: list[ModelRef], device: str) -> list[ModelRef]:
    """Return the artifacts as they run on a device: its bundles there, torch models here.

    Args:
        artifacts: at least one of them a bundle that the device runs, unless that is the host.
        device: NAME or NAME:SERIAL, see `hydra_mobile.devices.DEVICES`.

    Raises:
        HydraError: an unknown device, none that is connected, a bundle of a runtime that it does
            not have, no bundle at all, or what it needs cannot be built.
    """
    place = device_named(device)
    if not place.moves_bundles:
        return artifacts
    bundles = [artifact for artifact in artifacts if artifact.kind == "bundle"]
    for bundle in bundles:
        if place.formats and bundle.runner not in place.formats:
            raise HydraError(
                f"{bundle.path} is a bundle for {bundle.runner}; --device {device} runs bundles "
                f"for {', '.join(place.formats)}.",
                "Evaluate it without --device.",
            )
    if not bundles:
        raise HydraError(
            f"--device {device} runs bundles, and none of the artifacts is one.",
            "Make one with `hydra-mobile export`.",
        )
    placed = place.place()
    return [
        dataclasses.replace(
            artifact,
            runner=place.name,
            name=f"{artifact.name} ({placed.label})",
            # Answers of another device are kept apart.
            recipe=f"{artifact.recipe}{placed.recipe}",
            device=place.name,
        )
        if artifact.kind == "bundle"
        else artifact
        for artifact in artifacts
    ]


def runner_on(device: str, bundle: Bundle | Path) -> Runtime | None:
    """Return a loaded runtime of a bundle on a device; None for the host.

    Raises:
        HydraError: an unknown device, one that answers whole questions only, or what it needs
            cannot be built.
        ArtifactError: the bundle is incomplete, altered, or cannot run there.
    """
    place = device_named(device)
    if not place.moves_bundles:
        return None
    if not place.runtime:
        raise HydraError(
            f"--device {device}: {place.title} answers whole questions, and verify needs single "
            "calls.",
            f"Use another device, or `hydra-mobile evaluate --device {device}`.",
        )
    place.place()
    return runtime_on(place, "").load(bundle)


def loadable(path: Path, verified: bool) -> Bundle | Path:
    """Return what a runtime loads in a process that another one started.

    Args:
        path: of the artifact.
        verified: it is a bundle, and the process that started this one compared its hashes.
    """
    if not verified:
        return path
    return dataclasses.replace(Bundle.open(path, verify_hashes=False), verified=True)


def runtime_on(device: Device, runner: str) -> type[Runtime]:
    """Return the runtime that calls operations on a device: its own, else the bundle's."""
    if not device.runtime:
        return runtime_class(runner)
    return cast("type[Runtime]", resolve("runtime", device.name, {device.name: device.runtime}))
