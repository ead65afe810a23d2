"""A C and C++ compiler for Android that a pinned wheel carries: clang, lld, libc++ and headers.

The wheel is Zig's, whose program is clang and lld as well. It brings no Android: its musl headers
declare the C functions that both C libraries have alike, its libc++ is compiled into the namespace
of Android's (`std::__ndk1`), and what is linked is ExecuTorch's library and a stub that names the
functions of Android's C library. Nothing of the wheel but libunwind ends in what is built.
"""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.core.downloads.wheels import fetch_wheel
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.made_once import made_once

REQUIREMENT = "ziglang==0.14.1"
WHEEL = (
    "ziglang-0.14.1-py3-none-manylinux_2_12_x86_64.manylinux2010_x86_64.musllinux_1_1_x86_64.whl"
)
WHEEL_SHA256 = "6eb9d4d759b292c83810dbee2e9e8e3fbfbf01d864e6e9811bae711fd74e1c2f"
_WANTED = (
    *("ziglang/zig", "ziglang/lib/include/", "ziglang/lib/libcxx/include/", "ziglang/LICENSE"),
    "ziglang/lib/libunwind/",
    *(
        f"ziglang/lib/libc/include/{name}/"
        for name in ("aarch64-linux-musl", "x86_64-linux-musl", "generic-musl", "any-linux-any")
    ),
)
_TAIL = 4000


@dataclass(frozen=True)
class Abi:
    """How code for an ABI of Android is compiled.

    Attributes:
        name: Android's name.
        target: the compiler's name of the machine.
        emulation: the linker's name of it.
        trap: an instruction that ends the process.
        options: of the compiler.
    """

    name: str
    target: str
    emulation: str
    trap: str
    options: tuple[str, ...] = ()


ABIS = {
    abi.name: abi
    for abi in (
        # Android keeps x18 for the shadow call stack; helpers of atomics are in a compiler's own
        # runtime, which nothing here links.
        Abi(
            *("arm64-v8a", "aarch64-linux-musl", "aarch64linux", ".word 0xd4200020"),
            ("-ffixed-x18", "-mno-outline-atomics"),
        ),
        Abi("x86_64", "x86_64-linux-musl", "elf_x86_64", "ud2"),
    )
}

#: libc++'s configuration, as the NDK's headers have it, so that both sides mean the same classes.
_LIBCXX = (
    *("-nostdinc++", "-D_LIBCPP_ABI_VERSION=1", "-D_LIBCPP_ABI_NAMESPACE=__ndk1"),
    *("-D_LIBCPP_HARDENING_MODE=2", "-D_LIBCPP_HAS_MUSL_LIBC", "-D_LIBCPP_PSTL_BACKEND_SERIAL"),
    "-D_LIBCPP_DISABLE_VISIBILITY_ANNOTATIONS",
    "-D_LIBCPP_HAS_NO_VENDOR_AVAILABILITY_ANNOTATIONS",
)


def missing() -> str | None:
    """Say why nothing can be built here; None: it can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return f"the pinned compiler runs on x86-64 Linux, not on {platform.machine()} Linux"
    return None


class Toolchain:
    """Compiles and links for one ABI; objects and stubs lie in `work`.

    Args:
        abi: one of `ABIS`.
        work: an existing folder.

    Raises:
        HydraError: an unknown ABI, or the compiler does not run on this machine.
        HydraError, ArtifactError: see `fetch_wheel`.
    """

    def __init__(self, abi: str, work: Path) -> None:
        if reason := missing():
            raise HydraError(f"Nothing can be built for Android: {reason}.")
        if abi not in ABIS:
            raise HydraError(f"ABI {abi} is unknown: expected {' or '.join(ABIS)}.")
        self.abi = ABIS[abi]
        self.work = work
        self._root = made_once(f"zig-{WHEEL_SHA256[:12]}", _unpack)

    @property
    def unwinder(self) -> Path:
        """The folder of libunwind's sources: programs with exceptions bring it along."""
        return self._root / "lib" / "libunwind"

    def compile(self, source: Path, options: Sequence[str] = ()) -> Path:
        """Compile C, C++ (without exceptions and RTTI unless asked) or assembly; return the object.

        Raises:
            HydraError: the compiler refused; what it said is in the message.
        """
        lib = self._root / "lib"
        command = ["clang", "-c", f"--target={self.abi.target}", "-O2", "-fPIC"]
        # Pixels must round as they do on the host: no fused multiply-add.
        command += ["-fno-stack-protector", "-ffp-contract=off", "-nostdinc", *self.abi.options]
        if source.suffix == ".cpp":
            command += [*_LIBCXX, "-isystem", str(lib / "libcxx" / "include")]
        command += ["-isystem", str(lib / "include")]
        for name in (self.abi.target, "generic-musl", "any-linux-any"):
            command += ["-isystem", str(lib / "libc" / "include" / name)]
        out = self.work / f"{source.name}.o"
        self._run([*command, *options, str(source), "-o", str(out)])
        return out

    def unwinder_objects(self) -> list[Path]:
        """Compile libunwind, hidden: Android's own is inside of its C library, and not exported."""
        own = ["-I", str(self.unwinder / "include"), "-D_LIBUNWIND_HIDE_SYMBOLS"]
        own += ["-fvisibility=hidden", "-funwind-tables", "-DNDEBUG"]
        names = ("UnwindLevel1.c", "UnwindLevel1-gcc-ext.c")
        assembly = ("UnwindRegistersSave.S", "UnwindRegistersRestore.S")
        objects = [self.compile(self.unwinder / "src" / n, own) for n in (*names, *assembly)]
        strict = [*own, "-std=c++17", "-fno-exceptions", "-fno-rtti"]
        return [*objects, self.compile(self.unwinder / "src" / "libunwind.cpp", strict)]

    def stub(self, out: Path, functions: Sequence[str], data: Sequence[str] = ()) -> Path:
        """Write a library that has these names; calling one of its functions ends the process."""
        lines = ['.section .note.GNU-stack,"",%progbits', ".text"]
        for name in functions:
            lines += [f".globl {name}", f".type {name},%function", f"{name}:"]
        lines.append(self.abi.trap)
        for name in data:
            lines += [".data", f".globl {name}", f".type {name},%object", f".size {name},8"]
            lines.append(f"{name}: .quad 0")
        source = self.work / f"{out.stem}-stub.S"
        source.write_text("\n".join(lines) + "\n")
        self.link(out, [self.compile(source)], ["-shared", "-soname", out.name])
        return out

    def link(self, out: Path, inputs: Sequence[Path], options: Sequence[str]) -> None:
        """Link objects and libraries.

        Raises:
            HydraError: the linker refused; what it said is in the message.
        """
        command = ["ld.lld", "-m", self.abi.emulation, "-z", "max-page-size=16384"]
        command += ["-z", "relro", "-z", "now", "-z", "noexecstack", "--hash-style=both"]
        command += ["--build-id=sha1", "--eh-frame-hdr", "--no-undefined"]
        command += ["--allow-shlib-undefined", *options]
        self._run([*command, *map(str, inputs), "-o", str(out)])

    def _run(self, arguments: Sequence[str]) -> None:
        command = [str(self._root / "zig"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-_TAIL:]
            if done.returncode < 0:
                said = f"it was ended by {signal.Signals(-done.returncode).name}"
            raise HydraError(
                f"{arguments[0]} for {self.abi.name} failed:\n{said}", "Mend the sources."
            )


def _unpack(out: Path) -> None:
    wheel = fetch_wheel(REQUIREMENT, WHEEL_SHA256, WHEEL)
    with zipfile.ZipFile(wheel) as members:
        for member in members.infolist():
            if member.filename.startswith(_WANTED) and not member.is_dir():
                member.filename = member.filename.removeprefix("ziglang/")
                members.extract(member, out)
    (out / "zig").chmod(0o755)
