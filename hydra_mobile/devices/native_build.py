"""Builds the native runner of `native/` for a machine, once for each state of its sources.

x86-64 links ExecuTorch's libraries of the installed wheel. arm64 is cross-compiled against the same
version's wheel for that machine, which is fetched into the cache and read, never installed; its
libraries are laid beside the runner, so that the folder runs wherever it is copied.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.core.downloads.wheels import fetch_wheel
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import cache_home
from hydra_mobile.core.made_once import made_once
from hydra_mobile.core.temporary import scratch
from hydra_mobile.devices.android import runner

RUNNER = "hydra-runner"
# Where runners are in the cache.
_SHELF = "native"
#: The wheel's version that the runner is written for; `native/CMakeLists.txt` insists on it.
EXECUTORCH = "1.5.1"
ARM64_WHEEL = f"executorch-{EXECUTORCH}-cp311-cp311-manylinux_2_28_aarch64.whl"
ARM64_SHA256 = "8ee02348a3ea80ddf770822911ebf78da616b73afce0fbaaa79f23311c88c66a"
#: What pip must be told to fetch a wheel of another machine and interpreter.
_ARM64_PIP = (
    *("--platform", "manylinux_2_28_aarch64", "--python-version", "311"),
    *("--implementation", "cp", "--abi", "cp311"),
)
#: Libraries that the runner needs at run time.
LIBRARIES = (
    "libexecutorch.so",
    "libexecutorch_threadpool.so",
    "libexecutorch_kernels_optimized.so",
    "libexecutorch_kernels_quantized.so",
    "libexecutorch_backend_xnnpack.so",
)
#: Header-only libraries, by the Debian package that brings each.
_HEADERS = {
    "nlohmann-json3-dev": "/usr/include/nlohmann/json.hpp",
    "libstb-dev": "/usr/include/stb/stb_image.h",
}

Log = Callable[[str], None]


@dataclass(frozen=True)
class Machine:
    """A kind of machine that the runner is built for.

    Attributes:
        name: for messages and folders.
        compiler: the C++ compiler that makes its programs.
        package: the Debian package of that compiler.
        options: what CMake is told beside it.
    """

    name: str
    compiler: str
    package: str
    options: tuple[str, ...] = ()


X86_64 = Machine("x86-64", "g++", "g++")
ARM64 = Machine(
    "arm64",
    "aarch64-linux-gnu-g++",
    "g++-aarch64-linux-gnu",
    (
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        # The wheel's CMake package lies outside of the cross compiler's own folders.
        "-DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=BOTH",
    ),
)


def host() -> Machine:
    """Return the machine that this process runs on.

    Raises:
        HydraError: the runner is not built for it.
    """
    if sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64"):
        return X86_64
    raise HydraError(
        f"The native runner is built on x86-64 Linux only, not on {platform.machine()} "
        f"{platform.system()}.",
        "x86-64 Linux; elsewhere --device host runs bundles in Python",
    )


def missing_packages(machine: Machine) -> list[str]:
    """Return names of Debian packages without which the runner cannot be built."""
    tools = {"cmake": _cmake(), machine.package: shutil.which(machine.compiler)}
    missing = [package for package, path in tools.items() if path is None]
    return missing + [name for name, header in _HEADERS.items() if not Path(header).is_file()]


def native_runner(machine: Machine, log: Log = lambda _: None) -> Path:
    """Return the runner for a machine, building it when its sources have changed.

    Args:
        machine: `X86_64` or `ARM64`.
        log: gets a line before a build.

    Raises:
        HydraError: no checkout, a tool or ExecuTorch is missing, no network for the arm64 wheel, or
            the build failed; what the compiler said is in the message.
        ArtifactError: the wheel is not the pinned one.
    """
    sources, installed, folder = _place(machine)
    if (folder / RUNNER).is_file():
        return folder / RUNNER
    if missing := missing_packages(machine):
        raise HydraError(
            f"The native runner for {machine.name} cannot be built: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing.",
            f"On Debian: apt-get install {' '.join(missing)}",
        )

    def make(out: Path) -> None:
        log(f"building the native runner for {machine.name} (once, about a minute)")
        _build(machine, sources, installed, out)

    return made_once(folder.name, make, _SHELF) / RUNNER


def _place(machine: Machine) -> tuple[Path, Path | None, Path]:
    """Return the runner's sources, the installed ExecuTorch if it serves, and its folder.

    Raises:
        HydraError: no checkout, an unknown machine, or ExecuTorch is missing.
    """
    sources = _sources()
    host()
    installed = installed_executorch() if machine is X86_64 else None
    name = f"{machine.name}-{_digest(sources, installed)}"
    return sources, installed, cache_home() / _SHELF / name


def build_state(machine: Machine) -> str:
    """Return "ready" where the runner is built, else what it takes: "not built yet", "needs: ...".

    Builds nothing, and looks for what a build would look for.
    """
    try:
        _, _, folder = _place(machine)
    except HydraError as error:
        return f"needs: {error.fix}" if error.fix else error.what
    if (folder / RUNNER).is_file():
        return "ready"
    missing = missing_packages(machine)
    return f"needs: {', '.join(missing)}" if missing else "not built yet"


def android_runner(log: Log = lambda _: None) -> Path:
    """Return the runner for Android arm64-v8a, the libraries that it needs beside it.

    Built by the pinned compiler of `devices.android`, without CMake and without the NDK.

    Raises:
        HydraError, ArtifactError: see `hydra_mobile.devices.android.runner.build`.
    """
    return runner.build(_sources(), RUNNER, log)


def _build(machine: Machine, sources: Path, installed: Path | None, out: Path) -> None:
    with scratch(out.parent, f"{machine.name}-build") as temporary:
        executorch = installed or _unpacked(temporary)
        build = temporary / "build"
        configure = ["-S", str(sources), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"]
        configure += [f"-DCMAKE_CXX_COMPILER={machine.compiler}", *machine.options]
        _run([*configure, f"-Dexecutorch_DIR={executorch / 'share' / 'cmake'}"])
        _run(["--build", str(build), "--parallel", "2"])
        if installed is None:
            for library in LIBRARIES:
                shutil.copy2(executorch / "lib" / library, out / library)
        # Last: its presence says that the folder is complete.
        shutil.copy2(build / RUNNER, out / RUNNER)


def _run(arguments: list[str]) -> None:
    command = [str(_cmake()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise HydraError(
            f"The native runner did not build:\n{said}",
            "CMake must be 3.24 or newer (`pip install cmake` brings one), the compiler must know "
            "C++20.",
        )


def _unpacked(folder: Path) -> Path:
    """Unpack headers, libraries and CMake files of the arm64 wheel; return its package folder."""
    wheel = fetch_wheel(f"executorch=={EXECUTORCH}", ARM64_SHA256, ARM64_WHEEL, _ARM64_PIP)
    wanted = ("executorch/include/", "executorch/lib/", "executorch/share/")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [n for n in archive.namelist() if n.startswith(wanted)])
    return folder / "executorch"


def installed_executorch() -> Path:
    """Return the folder of the installed package `executorch`.

    Raises:
        HydraError: it is not installed.
    """
    spec = importlib.util.find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        raise HydraError(
            "The package `executorch` is not installed; the native runner links its libraries.",
            'pip install "hydra-mobile[executorch]"',
        )
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _sources() -> Path:
    package = Path(__file__).resolve().parents[1]
    # Beside the package in a checkout, inside it in a wheel.
    for folder in (package.parent / "native", package / "native"):
        if (folder / "CMakeLists.txt").is_file():
            return folder
    raise HydraError(
        f"{package.parent / 'native'} is missing: the native runner is built from these sources.",
        "Install the package again, or clone the repository and install it with: pip install -e .",
    )


def _digest(sources: Path, installed: Path | None) -> str:
    """Return a short hash of everything that a built runner depends on."""
    digest = hashlib.sha256(f"{EXECUTORCH} {installed or ARM64_SHA256}".encode())
    for file in sorted([sources / "CMakeLists.txt", *(sources / "src").iterdir()]):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _cmake() -> str | None:
    # One that pip installed stands beside the interpreter and may be newer than the system's.
    beside = shutil.which("cmake", path=str(Path(sys.executable).parent))
    return beside or shutil.which("cmake")
