"""Another place for a bundle to run than this process: what `--device` names.

Knows which artefacts can move and what a report says of them there; the runners do the rest. Called
by the verbs that have the option.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra_mobile.errors import HydraError
from hydra_mobile.evaluation.artefacts import Artefact
from hydra_mobile.registry import nearest

if TYPE_CHECKING:
    from hydra_mobile.evaluation.runners.native import NativeRunner

#: Devices that have a runner of the same name.
DEVICES = ("native", "emulator")
#: The one that Python runs on, with each runtime's own Python package.
HOST = "host"


def moved(artefacts: list[Artefact], device: str) -> list[Artefact]:
    """Return the artefacts as they run on a device: its bundles there, eager torch here.

    Args:
        artefacts: at least one of them an ExecuTorch bundle, unless the device is the host.
        device: `HOST` or one of `DEVICES`.

    Raises:
        HydraError: an unknown device, a bundle of a runtime that it does not have, no bundle at
            all, or the runner for it cannot be built.
    """
    if device == HOST:
        return artefacts
    kind = _runner_on(device)
    for artefact in artefacts:
        if artefact.kind == "bundle" and artefact.runner != "executorch":
            raise HydraError(
                f"{artefact.path} is a bundle for {artefact.runner}; --device {device} runs "
                "ExecuTorch bundles.",
                "Evaluate it without --device.",
            )
    if not any(artefact.kind == "bundle" for artefact in artefacts):
        raise HydraError(
            f"--device {device} runs bundles, and there is none among the artefacts.",
            "Make one with `hydra-mobile export --attention manual`.",
        )
    kind.command()  # built before the first question, and not by several processes at once
    return [
        dataclasses.replace(a, runner=device, name=f"{a.name} ({kind.execution})")
        if a.kind == "bundle"
        else a
        for a in artefacts
    ]


def runner_on(device: str, bundle: Path) -> NativeRunner | None:
    """Return a loaded runner of a bundle on a device; None for the host.

    Raises:
        HydraError: an unknown device, or the runner for it cannot be built.
        ArtefactError: the bundle is incomplete, altered, or cannot run there.
    """
    return None if device == HOST else _runner_on(device).load(bundle)


def _runner_on(device: str) -> type[NativeRunner]:
    from hydra_mobile.evaluation.runners import runner_class

    if device not in DEVICES:
        raise HydraError(f"--device is `{device}`.", nearest(device, (HOST, *DEVICES)))
    return cast("type[NativeRunner]", runner_class(device))
