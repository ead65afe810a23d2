"""A model inside the APK: which files go in, and whether Android takes such an APK.

The app copies the model out once, at its first start, because its files are opened by path. So a
phone needs room for the APK and for the copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.core.errors import HydraError

#: Folder of the APK's assets with one folder, the model, in it.
ASSETS = "assets/models"
#: The format has 32 bits for the offsets in it; the last of them is the directory's.
MOST_BYTES = 2**32 - 2**24


def usable(bundle: Path, runtimes: Sequence[str]) -> Bundle:
    """Open a bundle that the app can run.

    Args:
        bundle: a folder that `hydra-mobile export` wrote.
        runtimes: those that the app has.

    Raises:
        ArtifactError: the bundle is incomplete or altered.
        HydraError: the app cannot run it.
    """
    opened = Bundle.open(bundle)
    if opened.runtime not in runtimes:
        raise HydraError(
            f"{bundle} is a bundle for {opened.runtime}, and the app is built with "
            f"{', '.join(runtimes)}.",
            f"Build it with --runtimes {opened.runtime}, or export the bundle for {runtimes[0]}.",
        )
    if "adapters" in opened.manifest:
        raise HydraError(
            f"{bundle} holds adapters beside its program, and the app reads merged ones only.",
            "Export it without `--adapter separate`.",
        )
    return opened


def model_entries(
    bundle: Path, runtimes: Sequence[str], libraries: Mapping[str, Path], say: Callable[[str], None]
) -> dict[str, Path]:
    """Return name in the APK -> file of a bundle, all hashes compared.

    Args:
        bundle: a folder that `hydra-mobile export` wrote.
        runtimes: those that the app has.
        libraries: what else of size goes into the APK.
        say: told what the APK and the phone need.

    Raises:
        ArtifactError: the bundle is incomplete or altered.
        HydraError: the app cannot run it, or the APK would be larger than Android's format allows.
    """
    opened = usable(bundle, runtimes)
    files = {name: bundle / name for name in [MANIFEST, *opened.manifest["files"]]}
    model = sum(file.stat().st_size for file in files.values())
    apk = model + sum(file.stat().st_size for file in libraries.values())
    if apk > MOST_BYTES:
        raise HydraError(
            f"The APK would have {apk / 1e9:.2f} GB: {model / 1e9:.2f} of the model, the rest of "
            f"the runtimes. Android's format holds {MOST_BYTES / 1e9:.2f}.",
            "Take one --abi, a smaller preset, or leave the model out and push it: adb push.",
        )
    say(
        f"the model has {model / 1e6:.0f} MB, the APK will have about {apk / 1e6:.0f}; installed "
        f"and unpacked they take {(apk + model) / 1e6:.0f} MB of the phone's storage"
    )
    title = re.sub(r"[^\w.-]+", "_", bundle.resolve().name).strip(".") or "model"
    return {f"{ASSETS}/{title}/{name}": file for name, file in files.items()}
