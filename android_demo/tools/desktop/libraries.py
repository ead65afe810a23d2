"""Folders from which a desktop's JVM can load the app's runtimes for Android.

ONNX Runtime's of the AAR and ExecuTorch's with the app's own bridge to it, unchanged, beside an
Android C library of `c_library`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from pathlib import Path

from android_demo.tools import executorch_bridge, onnxruntime_aar
from android_demo.tools.desktop import c_library
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.made_once import made_once
from hydra_mobile.core.temporary import working_folder

#: Whose ONNX Runtime computes: Android's build, or the library of the installed Python package.
KINDS = ("android", "host")
#: Android's builds for arm64-v8a, for a JVM under an emulator (`arm64.java_command`).
EMULATED = "android-arm64"
_HERE = Path(__file__).parent
_RUNTIME = onnxruntime_aar.LIBRARIES[0]
_HOST_SCRIPT = f"VERS_{onnxruntime_aar.VERSION} {{ global: Ort*; local: *; }};\n"


def missing() -> str | None:
    """Say why the libraries cannot be made here; None: they can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return "Android's x86_64 libraries load on x86-64 Linux only"
    tools = [tool for tool in ("cc", "nm") if shutil.which(tool) is None]
    return f"{' and '.join(tools)} not installed: apt-get install gcc binutils" if tools else None


def folder(kind: str = "android") -> Path:
    """Return the folder of both runtimes' libraries; see `properties` and `environment`.

    Args:
        kind: whose ONNX Runtime, one of `KINDS`, or `EMULATED`.

    Raises:
        HydraError: a tool is missing, or the compiler failed.
        ArtifactError: the AAR is not the pinned one.
    """
    if reason := missing():
        raise HydraError(f"The test device cannot be built: {reason}.")
    abi = "arm64-v8a" if kind == EMULATED else "x86_64"
    host = host_library() if kind == "host" else None
    sources = [*sorted(_HERE.glob("*.c")), Path(__file__), Path(c_library.__file__)]
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources))
    executorch = executorch_bridge.libraries(abi).name
    digest.update(f"{onnxruntime_aar.AAR_SHA256} {executorch} {host}".encode())
    return made_once(f"desktop-{kind}-{digest.hexdigest()[:12]}", lambda out: _make(out, abi, host))


def host_library() -> Path:
    """Return the library that computes in the installed Python package.

    Raises:
        HydraError: the package is not installed, or has none.
    """
    spec = importlib.util.find_spec("onnxruntime")
    found = (
        sorted(Path(spec.origin).parent.glob("capi/libonnxruntime.so*"))
        if spec and spec.origin
        else []
    )
    if not found:
        raise HydraError("The Python package onnxruntime has no library for C here.")
    return found[0]


def described(kind: str) -> str:
    """Return what computes, for reports."""
    if kind == "host":
        version = importlib.metadata.version("onnxruntime")
        return f"onnxruntime {version}, the Python package's library"
    return f"onnxruntime {onnxruntime_aar.VERSION}, Android x86_64"


def properties(native: Path) -> dict[str, str]:
    """Return the Java properties with which a JVM finds the libraries of a folder."""
    return {"onnxruntime.native.path": str(native), "java.library.path": str(native)}


def environment(native: Path) -> dict[str, str]:
    """Return the variables with which a desktop's loader finds what those libraries need."""
    return {"LD_LIBRARY_PATH": str(native)}


def _make(out: Path, abi: str, host: Path | None) -> None:
    android = onnxruntime_aar.unpacked() / "jni" / abi
    executorch = executorch_bridge.libraries(abi)
    machine = c_library.X86_64 if abi == "x86_64" else c_library.ARM64
    theirs = [android / name for name in onnxruntime_aar.LIBRARIES]
    theirs += [executorch / name for name in executorch_bridge.LIBRARIES]
    with working_folder("libraries") as work:
        c_library.write(out, work, machine, theirs)
        for library in theirs:
            shutil.copy(library, out)
        if host is None:
            return
        (work / "host_version").write_text(_HOST_SCRIPT)
        # The glue has no RUNPATH: what it needs must be loaded before it.
        beside = [f"-l:{name}" for name in ("libm.so", "libdl.so", "libc.so")]
        (out / _RUNTIME).unlink()
        c_library.link(
            out / _RUNTIME,
            [
                *(str(_HERE / "host_bridge.c"), f'-DHOST_LIBRARY="{host}"'),
                f"-Wl,--version-script={work / 'host_version'}",
                *("-Wl,--no-as-needed", f"-L{out}", *beside, "-Wl,-rpath,$ORIGIN"),
            ],
            c_library.X86_64,
        )
