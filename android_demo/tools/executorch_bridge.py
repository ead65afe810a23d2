"""Builds `libhydra_et.so`, the app's own JNI bridge to ExecuTorch, beside what it needs."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from android_demo.tools.kotlin import APP
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.made_once import made_once
from hydra_mobile.core.temporary import working_folder
from hydra_mobile.devices.android import executorch_package, fbjni_stub, toolchain
from hydra_mobile.devices.android.toolchain import Toolchain

#: What the libraries are built for, and what they are called in messages.
ABIS = toolchain.ABIS
DESCRIPTION = executorch_package.DESCRIPTION

BRIDGE = "libhydra_et.so"
SOURCE = APP / "runtime-et" / "src" / "main" / "cpp" / "hydra_et.cpp"
#: In the order in which one needs the other.
LIBRARIES = (fbjni_stub.NAME, executorch_package.LIBRARY, BRIDGE)
#: All that the bridge wants of Android's C library.
_C_FUNCTIONS = ("memcpy", "memmove", "memset", "strlen")


def libraries(abi: str) -> Path:
    """Return a folder with `LIBRARIES` for an ABI, building what is not there yet.

    Raises:
        HydraError: the JDK's headers or a package are missing, or the sources do not compile.
        ArtifactError: a pinned package is not what it should be.
    """
    digest = hashlib.sha256(SOURCE.read_bytes())
    for module in (toolchain, fbjni_stub, executorch_package):
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(Path(__file__).read_bytes())
    name = f"executorch-bridge-{abi}-{digest.hexdigest()[:12]}"
    return made_once(name, lambda out: _build(abi, out))


def _build(abi: str, out: Path) -> None:
    with working_folder("bridge") as work:
        tools = Toolchain(abi, work)
        strict = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]
        strict += ["-fno-exceptions", "-fno-rtti", *executorch_package.include_options()]
        bridge = tools.compile(SOURCE, [*strict, *_jni_headers()])
        executorch = out / executorch_package.LIBRARY
        shutil.copy2(executorch_package.library(abi), executorch)
        fbjni_stub.write(out, tools)
        c_library = tools.stub(work / "libc.so", _C_FUNCTIONS)
        # A desktop's linker finds the neighbors by the run path; Android's needs none.
        options = ["-shared", "-soname", BRIDGE, "-rpath", "$ORIGIN"]
        tools.link(out / BRIDGE, [bridge, executorch, c_library], options)


def _jni_headers() -> list[str]:
    compiler = shutil.which("javac")
    include = Path(compiler).resolve().parents[1] / "include" if compiler else None
    if include is None or not (include / "jni.h").is_file():
        raise HydraError(
            "The JDK's jni.h is missing, which the bridge to ExecuTorch is compiled with.",
            "On Debian: apt-get install openjdk-17-jdk-headless",
        )
    return ["-isystem", str(include), "-isystem", str(include / "linux")]
