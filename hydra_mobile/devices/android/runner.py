"""Builds the native runner for Android arm64-v8a with the pinned compiler."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.made_once import made_once
from hydra_mobile.core.temporary import working_folder
from hydra_mobile.devices.android import executorch_package, fbjni_stub, toolchain
from hydra_mobile.devices.android.toolchain import Toolchain

ABI = "arm64-v8a"
#: The only folder of headers that is taken from the system: one file, the same everywhere.
_STB = Path("/usr/include/stb")
#: What the runner wants of Android's C library; each has been there since API 21.
_C_FUNCTIONS = (
    *("__assert2", "__errno", "__libc_init", "abort", "close", "dl_iterate_phdr", "dladdr"),
    *("fclose", "fflush", "fopen", "fprintf", "free", "fsync", "fwrite", "localeconv", "malloc"),
    *("getpid", "memchr", "memcmp", "memcpy", "memmove", "memset", "open", "posix_fadvise"),
    *("expf", "powf", "sin", "stat"),
    *("pthread_rwlock_rdlock", "pthread_rwlock_unlock", "pthread_rwlock_wrlock", "realloc"),
    *("snprintf", "strerror", "strlen", "strtod", "strtoll", "strtoull", "syscall", "uname"),
)
_C_DATA = ("stderr",)


def missing_packages() -> list[str]:
    """Return names of Debian packages without which the runner cannot be built."""
    return [] if (_STB / "stb_image.h").is_file() else ["libstb-dev"]


def build(sources: Path, name: str, log: Callable[[str], None] = lambda _: None) -> Path:
    """Return the runner's program, the libraries that it needs beside it; built when absent.

    Args:
        sources: the folder `native`.
        name: of the program.
        log: gets a line before a build.

    Raises:
        HydraError: this machine has no such compiler, a package is missing, or the build failed.
        ArtifactError: a pinned package is not what it should be.
    """
    digest = hashlib.sha256()
    modules = (toolchain, fbjni_stub, executorch_package)
    files = [*sorted((sources / "src").iterdir()), *sorted((sources / "android").iterdir())]
    for file in [*files, *(Path(str(module.__file__)) for module in modules), Path(__file__)]:
        digest.update(file.name.encode() + file.read_bytes())
    made = f"runner-{ABI}-{digest.hexdigest()[:12]}"

    def make(out: Path) -> None:
        log(f"building the native runner for Android {ABI} (once, about a minute)")
        _build(sources, out, name)

    return made_once(made, make) / name


def _build(sources: Path, out: Path, name: str) -> None:
    if missing := missing_packages():
        raise HydraError(
            f"The native runner for Android cannot be built: {', '.join(missing)} is missing.",
            f"On Debian: apt-get install {' '.join(missing)}",
        )
    with working_folder("runner") as work:
        tools = Toolchain(ABI, work)
        executorch = out / executorch_package.LIBRARY
        shutil.copy2(executorch_package.library(ABI), executorch)
        fbjni_stub.write(out, tools)
        libraries = [executorch, tools.stub(work / "libc.so", _C_FUNCTIONS, _C_DATA)]
        options = ["-pie", "-dynamic-linker", "/system/bin/linker64", "-rpath", "$ORIGIN"]
        tools.link(out / name, [*_objects(tools, sources), *libraries], options)


def _objects(tools: Toolchain, sources: Path) -> Sequence[Path]:
    headers = tools.work / "headers"
    (headers / "stb").mkdir(parents=True)
    # Nothing else of the system's headers may be seen.
    shutil.copy(_STB / "stb_image.h", headers / "stb")
    modern = ["-std=c++20", "-fvisibility=hidden", *executorch_package.include_options()]
    # Android 8 and 9 have no thread-local storage for libraries of ours.
    modern += ["-isystem", str(headers), "-DSTBI_NO_THREAD_LOCALS"]
    version = f"{executorch_package.NPM_NAME} {executorch_package.NPM_VERSION}"
    modern.append(f'-DHYDRA_EXECUTORCH_VERSION="{version}"')
    # The Android library has the llama:: operators.
    files = (f for f in sorted((sources / "src").glob("*.cpp")) if f.stem != "attention")
    # Clang is a process of its own, which threads of Python wait for.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        program = list(pool.map(lambda file: tools.compile(file, modern), files))
    glue = [
        tools.compile(sources / "android" / "glue.cpp", ["-std=c++20"]),
        tools.compile(sources / "android" / "crt.c"),
    ]
    return [*program, *glue, *tools.unwinder_objects()]
