"""Folders of native libraries from which a desktop's JVM can load the Android x86_64 ONNX Runtime.

Android's libraries need `libc.so`, `libm.so` and others, and symbols of version LIBC; a desktop
has `libc.so.6` and symbols of version GLIBC. So small libraries of those names are made here:
`bionic.c` for what differs, and a jump for every function that does not. Nothing is patched: the
files are those of the AAR, and they find their neighbors by the RUNPATH that they have anyway.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from android_demo.tools import onnxruntime_aar
from android_demo.tools.cache import made_once
from hydra_mobile.core.errors import HydraError

#: Whose kernels compute: Android's build, or the library of the installed Python package.
KINDS = ("android", "host")
_HERE = Path(__file__).parent
_RUNTIME, _GLUE = onnxruntime_aar.LIBRARIES
#: Version of the symbols that Android's libraries need.
_VERSION_SCRIPT = "LIBC { global: *; };\n"
_HOST_SCRIPT = f"VERS_{onnxruntime_aar.VERSION} {{ global: Ort*; local: *; }};\n"


def missing() -> str | None:
    """Say why the libraries cannot be made here; None: they can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return "Android's x86_64 libraries load on x86-64 Linux only"
    tools = [tool for tool in ("cc", "nm") if shutil.which(tool) is None]
    return f"{' and '.join(tools)} not installed: apt-get install gcc binutils" if tools else None


def folder(kind: str = "android") -> Path:
    """Return the folder to give to Java as `onnxruntime.native.path`.

    Args:
        kind: one of `KINDS`.

    Raises:
        HydraError: a tool is missing, or the compiler failed.
        ArtifactError: the AAR is not the pinned one.
    """
    if reason := missing():
        raise HydraError(f"The test device cannot be built: {reason}.")
    host = host_library() if kind == "host" else None
    sources = [*sorted(_HERE.glob("*.c")), Path(__file__)]
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources))
    digest.update(f"{onnxruntime_aar.AAR_SHA256} {host}".encode())
    return made_once(f"desktop-{kind}-{digest.hexdigest()[:12]}", lambda out: _make(out, host))


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


def _make(out: Path, host: Path | None) -> None:
    android = onnxruntime_aar.unpacked() / "jni" / "x86_64"
    needed = _needed(android / name for name in onnxruntime_aar.LIBRARIES)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        _write_generated(work, needed)
        (work / "empty.c").write_text("")
        (work / "version").write_text(_VERSION_SCRIPT)
        (work / "host_version").write_text(_HOST_SCRIPT)
        versioned = f"-Wl,--version-script={work / 'version'}"
        bionic = [str(_HERE / "bionic.c"), str(work / "jumps.S"), f"-I{work}", versioned, "-lm"]
        _link(out / "libc.so", bionic)
        for name in ("libm.so", "libdl.so"):
            _link(out / name, [str(work / "empty.c"), versioned])
        _link(out / "liblog.so", [str(_HERE / "log.c")])
        _link(out / "libandroid.so", [str(work / "empty.c")])
        shutil.copy(android / _GLUE, out)
        if host is None:
            shutil.copy(android / _RUNTIME, out)
            return
        # The glue has no RUNPATH: what it needs must be loaded before it.
        beside = [f"-l:{name}" for name in ("libm.so", "libdl.so", "libc.so")]
        _link(
            out / _RUNTIME,
            [
                *(str(_HERE / "host_bridge.c"), f'-DHOST_LIBRARY="{host}"'),
                f"-Wl,--version-script={work / 'host_version'}",
                *("-Wl,--no-as-needed", f"-L{out}", *beside, "-Wl,-rpath,$ORIGIN"),
            ],
        )


def _needed(libraries: Iterable[Path]) -> set[str]:
    """Return the names that libraries need of Android's C library."""
    names = set()
    for library in libraries:
        command = ["nm", "-D", "--undefined-only", "--with-symbol-versions", str(library)]
        for line in _said(command).splitlines():
            name, _, version = line.split()[-1].partition("@")
            if version.lstrip("@").startswith("LIBC"):
                names.add(name)
    return names


def _write_generated(work: Path, needed: set[str]) -> None:
    source = (_HERE / "bionic.c").read_text()
    own = set(re.findall(r"^[\w *]*\bdevice_(\w+)\(", source, re.MULTILINE))
    own |= {"__sF", "stdin", "stdout", "stderr"}
    exports = "\n".join(f"EXPORT({name})" for name in sorted(own))
    (work / "exports.h").write_text(exports + "\n")
    jumps = [
        f".globl device_{name}\n.type device_{name}, @function\n"
        f"device_{name}: jmp *{name}@GOTPCREL(%rip)\n"
        f".symver device_{name}, {name}@LIBC\n"
        for name in sorted(needed - own)
    ]
    stack = '.section .note.GNU-stack, "", @progbits\n'
    (work / "jumps.S").write_text("".join(jumps) + stack)


def _link(library: Path, inputs: list[str]) -> None:
    flags = ["-shared", "-fPIC", "-O1", f"-Wl,-soname,{library.name}"]
    _said(["cc", *flags, "-o", str(library), *inputs])


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HydraError(f"{command[0]} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout
