"""What the native libraries of an APK need and offer, read from their ELF files."""

from __future__ import annotations

import io
from dataclasses import dataclass

import lief

from android_demo.tools.apk_zip import PAGE
from hydra_mobile.core.errors import ArtifactError

#: Libraries that the NDK lets apps use.
PUBLIC = frozenset(
    f"lib{name}.so"
    for name in (
        *("c", "m", "dl", "log", "android", "z", "EGL", "GLESv1_CM", "GLESv2", "GLESv3", "vulkan"),
        *("jnigraphics", "neuralnetworks", "OpenSLES", "aaudio", "camera2ndk", "mediandk"),
        *("nativewindow", "sync", "binder_ndk", "amidi", "nativehelper"),
    )
)
_MACHINES = {
    "arm64-v8a": lief.ELF.ARCH.AARCH64,
    "x86_64": lief.ELF.ARCH.X86_64,
    "armeabi-v7a": lief.ELF.ARCH.ARM,
    "x86": lief.ELF.ARCH.I386,
}


@dataclass(frozen=True)
class Library:
    """One shared library; page: the least alignment of what is mapped, in bytes."""

    name: str
    #: What it calls itself, which is what other libraries need; "" where it has no name.
    soname: str
    abi: str
    is_of_abi: bool
    page: int
    needed: tuple[str, ...]
    exports: frozenset[str]
    data: bytes


def read_library(data: bytes, name: str, abi: str) -> Library:
    """Read a library from its bytes.

    Raises:
        ArtifactError: it is no ELF file, or an unreadable one.
    """
    binary = lief.ELF.parse(io.BytesIO(data)) if data[:4] == b"\x7fELF" else None
    if binary is None:
        raise ArtifactError(f"lib/{abi}/{name} is no shared library: it begins with {data[:4]!r}.")
    loads = [s.alignment for s in binary.segments if s.type == lief.ELF.Segment.TYPE.LOAD]
    return Library(
        name=name,
        soname=_soname(binary),
        abi=abi,
        is_of_abi=binary.header.machine_type == _MACHINES.get(abi),
        page=min(loads, default=0),
        needed=tuple(map(str, binary.libraries)),
        exports=frozenset(str(symbol.name) for symbol in binary.exported_symbols),
        data=data,
    )


def _soname(binary: lief.ELF.Binary) -> str:
    entry = binary.get(lief.ELF.DynamicEntry.TAG.SONAME)
    return str(entry.name) if isinstance(entry, lief.ELF.DynamicSharedObject) else ""


def faults(libraries: list[Library]) -> list[str]:
    """Return what is wrong with the libraries of one ABI."""
    packaged = {library.name for library in libraries}
    found = []
    for library in libraries:
        where = f"lib/{library.abi}/{library.name}"
        if not library.is_of_abi:
            found.append(f"{where} is for another processor")
        if library.soname and library.soname != library.name:
            found.append(f"{where} calls itself {library.soname}: nothing finds it by that name")
        if library.page < PAGE:
            found.append(f"{where} is laid out for pages of {library.page} bytes, not {PAGE}")
        for needed in library.needed:
            if needed not in packaged and needed not in PUBLIC:
                found.append(f"{where} needs {needed}, which is neither packed nor public")
    return found
