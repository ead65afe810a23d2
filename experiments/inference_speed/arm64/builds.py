"""Builds the instruction counter, and llama.cpp for arm64, once for each state of the sources."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from experiments.inference_speed import llama_source
from experiments.inference_speed.arm64.processors import PROCESSORS, Processor
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.made_once import made_once
from hydra_mobile.core.temporary import working_folder
from hydra_mobile.devices import native_build

_HERE = Path(__file__).parent
_SHELF = "arm64_instructions"
_LOOP = "llama-loop"
_PREFIX = native_build.ARM64.compiler.removesuffix("g++")


def require_packages() -> None:
    """Refuse to begin without what has to be installed.

    Raises:
        HydraError: a Debian package is missing; it names all that are.
    """
    missing = native_build.missing_packages(native_build.ARM64)
    # qemu-user-static, which the tests use, takes no plugins.
    tools = {"qemu-user": "qemu-aarch64", "gcc": "gcc"}
    missing += [package for package, tool in tools.items() if shutil.which(tool) is None]
    if missing:
        raise HydraError(
            f"Instructions cannot be counted without {', '.join(missing)}.",
            f"On Debian: apt-get install {' '.join(missing)}",
        )


def counter() -> Path:
    """Return qemu's plugin that counts."""
    source = _HERE / "count.c"
    name = "libcount.so"

    def make(out: Path) -> None:
        llama_source.ran(["gcc", "-shared", "-fPIC", "-O2", "-o", str(out / name), str(source)])

    return made_once(f"counter-{_digest([source])}", make, _SHELF) / name


def llama_loop(processor: Processor) -> Path:
    """Return the loop on llama.cpp for one processor; the first call builds it for all.

    Raises:
        HydraError: no network for the source, or the build failed.
    """
    sources = [_HERE / "CMakeLists.txt", _HERE / "loop.c"]
    facts = [llama_source.SHA256, *(p.march for p in PROCESSORS)]
    name = f"llama.cpp-{_digest(sources, facts)}"
    return made_once(name, _build_loops, _SHELF) / f"{_LOOP}-{processor.name}"


def _build_loops(out: Path) -> None:
    print("building llama.cpp for arm64 (once, about ten minutes)", flush=True)
    source = llama_source.source()
    with working_folder("llama.cpp") as temporary:
        build = temporary / "build"
        configure = ["cmake", "-S", str(_HERE), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"]
        configure += [*native_build.ARM64.options, f"-DLLAMA_CPP={source}"]
        configure += [f"-DCMAKE_C_COMPILER={_PREFIX}gcc", f"-DCMAKE_CXX_COMPILER={_PREFIX}g++"]
        for processor in PROCESSORS:
            # The same folder: only the kernels are compiled again.
            llama_source.ran([*configure, f"-DGGML_CPU_ARM_ARCH={processor.march}"])
            llama_source.ran(["cmake", "--build", str(build), "--target", _LOOP, "--parallel", "2"])
            shutil.copy2(build / _LOOP, out / f"{_LOOP}-{processor.name}")


def _digest(files: Iterable[Path], facts: Iterable[str] = ()) -> str:
    digest = hashlib.sha256(" ".join(facts).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
