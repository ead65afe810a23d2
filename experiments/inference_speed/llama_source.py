"""llama.cpp from source, built once for each kind of machine and kept in the cache.

    python -m experiments.inference_speed.llama_source  # builds, and prints the folder

    from experiments.inference_speed.llama_source import build, native

    folder = native()                                   # built for this processor: its libraries
    folder = build("arm64", [f"-DCMAKE_TOOLCHAIN_FILE={file}", "-DGGML_NATIVE=OFF"])

The source is that of the sdist of llama-cpp-python, which pip downloads and whose sha256 is pinned.
`build` configures llama.cpp's own CMake project with the options that are given, beside those that
leave out what needs a network, and makes the given targets; where the same build is there already
it returns at once. Wants cmake, ninja and a C++ compiler. A build for the processor at hand is
named by its instruction sets, for a cache may be shared by machines.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from hydra_mobile.core.downloads.wheels import fetch_wheel
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import cache_home
from hydra_mobile.core.temporary import scratch

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
REQUIREMENT = f"{PACKAGE}=={VERSION}"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_TOP = f"llama_cpp_python-{VERSION}"
_TOOLS = ("cmake", "ninja", "c++")
#: What would ask for a network, or is built and never used here.
_WITHOUT = (
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
)


def missing() -> str | None:
    """Return why nothing can be built here; None: it can."""
    lacking = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"to build llama.cpp takes {', '.join(lacking)}" if lacking else None


def source() -> Path:
    """Return the folder of llama.cpp's source in the cache; the first call downloads it.

    Raises:
        ArtifactError: the file downloaded has another sha256.
        HydraError: pip could not download it.
    """
    folder = _home() / "source"
    if not folder.is_dir():
        options = ("--no-binary", PACKAGE)
        packed = fetch_wheel(REQUIREMENT, SHA256, f"{_TOP}.tar.gz", options)
        with scratch(_home(), folder.name) as temporary:
            with tarfile.open(packed) as file:
                inner = f"{_TOP}/vendor/llama.cpp/"
                members = [m for m in file if m.name.startswith(inner)]
                file.extractall(temporary, members, filter="data")
            (temporary / inner).rename(folder)
    return folder


def build(name: str, options: Sequence[str], targets: Sequence[str] = ("llama", "mtmd")) -> Path:
    """Return a folder with the libraries and programs of a build, which is made where it is not.

    Args:
        name: of the folder; equal names are one build, so other options need another name.
        options: of CMake.
        targets: what is made. `llama` is the library, `mtmd` that for pictures.

    Raises:
        HydraError: a tool is not installed, or CMake or the compiler failed.
    """
    folder = _home() / name
    if folder.is_dir():
        return folder
    if reason := missing():
        raise HydraError(f"llama.cpp is not built: {reason}.", "Install them, and run again.")
    tree = source()
    with scratch(_home(), name) as temporary:
        here = temporary / "build"
        configure = ["cmake", "-G", "Ninja", "-S", str(tree), "-B", str(here), *_WITHOUT]
        # Libraries find each other wherever the folder lies.
        configure += ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON"]
        ran([*configure, "-DCMAKE_INSTALL_RPATH=$ORIGIN", *options])
        ran(["cmake", "--build", str(here), "--target", *targets])
        (here / "bin").rename(folder)
    return folder


def native() -> Path:
    """Return the build for every instruction set that this processor has (see `build`)."""
    header = Path(__file__).with_name("amx_config.h")
    return build(_native_name(), ["-DGGML_NATIVE=ON", f"-DCMAKE_CXX_FLAGS=-include {header}"])


def is_native() -> bool:
    """Return whether `native` has its build already."""
    return (_home() / _native_name()).is_dir()


def _home() -> Path:
    folder = cache_home() / "llama.cpp" / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _native_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = platform.processor()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    sets = " ".join(sorted(set(found.group(1).split()))) if found else text
    return f"native-{platform.machine()}-{hashlib.sha256(sets.encode()).hexdigest()[:8]}"


def ran(command: list[str]) -> None:
    """Run a command of a build.

    Raises:
        HydraError: it failed; with the end of what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-1500:]
        raise HydraError(f"`{' '.join(command[:2])}` failed:\n{said}")


if __name__ == "__main__":
    print(native())
