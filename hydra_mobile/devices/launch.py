"""How a bundle comes to run on a device: runner and bundle put there, and what starts them.

A phone gets the runner that `devices.android` builds with its pinned compiler, machines with Linux
(boards, a test's own machine) the one that `native_build` makes.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.devices import native_build
from hydra_mobile.devices.android import runner
from hydra_mobile.devices.errors import RunnerMissing, WrongAbi
from hydra_mobile.devices.facts import DeviceFacts
from hydra_mobile.devices.native_build import LIBRARIES, RUNNER
from hydra_mobile.devices.push import Progress, push_changed
from hydra_mobile.devices.remote import Remote

#: A runner built elsewhere, with the libraries beside it that it needs.
RUNNER_VARIABLE = "HYDRA_MOBILE_RUNNER"
#: What stands before the runner's command on the device, for example an emulator.
LAUNCHER_VARIABLE = "HYDRA_MOBILE_LAUNCHER"

#: `e_machine` of the ELF specification -> Android's name of the ABI.
_MACHINES = {0x3E: "x86_64", 0xB7: "arm64-v8a", 0x28: "armeabi-v7a", 0x03: "x86"}

_BUILDS = {"x86_64": native_build.X86_64, "arm64-v8a": native_build.ARM64}


@dataclass(frozen=True)
class Installed:
    """A runner and a bundle on a device.

    Attributes:
        command: starts the runner with the bundle; arguments are to follow.
        bundle: the bundle's folder on the device.
        digest: changes with runner and bundle.
        emulated: something stands between the runner and the processor: timings do not count.
    """

    command: str
    bundle: str
    digest: str
    emulated: bool


def install(
    remote: Remote,
    bundle: Bundle,
    facts: DeviceFacts,
    progress: Progress = lambda done, total, name: None,
) -> Installed:
    """Put the runner for a device, and a bundle, where they are not there yet.

    Raises:
        RunnerMissing: there is no runner for it here.
        WrongAbi: the runner, or the bundle, is for other processors.
        ArtifactError: the bundle is for another runtime.
        DeviceGone, DeviceFull: see `push_changed`.
    """
    require_runtime(bundle)
    launcher = os.environ.get(LAUNCHER_VARIABLE, "")
    files = runner_files(facts)
    if not launcher:
        _require_abi(files[RUNNER], facts)
    folder = f"{remote.root}/runner-{_digest(files)}"
    push_changed(remote, files, folder, progress)
    place = push_bundle(remote, bundle, f"{remote.root}/bundles", progress)
    # The loader looks there first; an Android build is static but for Android's own libraries.
    environment = "" if launcher else f"LD_LIBRARY_PATH={shlex.quote(folder)} "
    prefix = f"{launcher} " if launcher else ""
    command = f"{environment}{prefix}{shlex.quote(f'{folder}/{RUNNER}')} --bundle {place}"
    digest = hashlib.sha256(f"{command} {sha256_of(bundle.folder / MANIFEST)}".encode())
    return Installed(command, place, digest.hexdigest()[:12], bool(launcher))


def require_runtime(bundle: Bundle) -> None:
    """Refuse a bundle that the native runner cannot run.

    Raises:
        ArtifactError: it is for another runtime.
    """
    if bundle.runtime != "executorch":
        raise ArtifactError(
            f"{bundle.folder} is a bundle for the runtime `{bundle.runtime}`, not `executorch`, "
            "which the native runner has.",
            "On a phone the demo app runs it: --device app",
        )


def push_bundle(remote: Remote, bundle: Bundle, folder: str, progress: Progress) -> str:
    """Put a bundle below `folder`; return its folder on the device."""
    # By contents: two bundles of one name are two bundles.
    name = sha256_of(bundle.folder / MANIFEST)[:12]
    files = {name: bundle.folder / name for name in [*bundle.manifest["files"], MANIFEST]}
    push_changed(remote, files, f"{folder}/{name}", progress)
    return f"{folder}/{name}"


def runner_files(facts: DeviceFacts) -> Mapping[str, Path]:
    """Return name -> file of the runner for a device and of the libraries that it needs.

    Raises:
        RunnerMissing: the file that was named is not there.
        WrongAbi: no runner is made for this device's processors.
        HydraError: it cannot be built here.
    """
    named = os.environ.get(RUNNER_VARIABLE)
    if named:
        program = Path(named)
        if not program.is_file():
            raise RunnerMissing(
                f"{RUNNER_VARIABLE} names {program}, which is not there.",
                "Build the runner for Android as native/README.md says.",
            )
        beside = {path.name: path for path in sorted(program.parent.glob("*.so*"))}
        return {RUNNER: program, **beside}
    if facts.android:
        return _for_android(facts)
    machine = next((_BUILDS[abi] for abi in facts.abis if abi in _BUILDS), None)
    if machine is None:
        raise WrongAbi(
            f"{facts.title} runs {', '.join(facts.abis) or 'nothing that is known'}; the runner is "
            f"built for {', '.join(_BUILDS)}.",
            "A phone of the last ten years runs arm64-v8a.",
        )
    program = native_build.native_runner(machine)
    beside = {path.name: path for path in sorted(program.parent.glob("*.so*"))}
    if not beside:
        # On the host the runner links the installed package's libraries where they are.
        libraries = native_build.installed_executorch() / "lib"
        beside = {name: libraries / name for name in LIBRARIES}
    return {RUNNER: program, **beside}


def _for_android(facts: DeviceFacts) -> Mapping[str, Path]:
    if runner.ABI not in facts.abis:
        raise WrongAbi(
            f"{facts.title} runs {', '.join(facts.abis) or 'nothing that is known'}; the runner "
            f"for Android is built for {runner.ABI}.",
            f"Name a runner for it with {RUNNER_VARIABLE}, or use the demo app: --device app",
        )
    program = native_build.android_runner()
    return {RUNNER: program, **{path.name: path for path in sorted(program.parent.glob("*.so"))}}


def _require_abi(program: Path, facts: DeviceFacts) -> None:
    abi = abi_of(program)
    if abi not in facts.abis:
        raise WrongAbi(
            f"{program} is for {abi or 'no processor that is known'}; {facts.title} runs "
            f"{', '.join(facts.abis) or 'nothing that is known'}.",
            f"Name a runner for it with {RUNNER_VARIABLE}.",
        )


def _digest(files: Mapping[str, Path]) -> str:
    """Return a short hash of a runner: its sizes and times would not do after a rebuild."""
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name} {sha256_of(path)}".encode())
    return digest.hexdigest()[:12]


def abi_of(program: Path) -> str | None:
    """Return the ABI that a program is for; None for what is no ELF file or another machine's."""
    with program.open("rb") as handle:
        header = handle.read(20)
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    little = header[5] == 1
    return _MACHINES.get(int.from_bytes(header[18:20], "little" if little else "big"))
