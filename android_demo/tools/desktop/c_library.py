"""Android's C library on a desktop: what lets Android's own libraries be loaded there, unchanged.

They need `libc.so`, `libm.so` and others, and symbols of version LIBC; a desktop has `libc.so.6`
and symbols of version GLIBC. So small libraries of those names are made here: C sources for what
differs, and a jump for every function that does not.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lief

from hydra_mobile.core.errors import HydraError

_HERE = Path(__file__).parent
#: Data of the C library that `bionic.c` defines.
_DATA = ("__sF", "stdin", "stdout", "stderr")
#: Versions of symbols, each after the one that it extends.
_VERSIONS = ("LIBC", "LIBC_N")


@dataclass(frozen=True)
class Machine:
    """A machine that the library is made for.

    Attributes:
        compiler: the C compiler for it.
        jump: assembly that goes on at the desktop's function NAME.
        sources: what differs there.
    """

    compiler: str
    jump: str
    sources: tuple[str, ...]


X86_64 = Machine("cc", "jmp *NAME@GOTPCREL(%rip)", ("bionic.c",))
#: Its mutexes and attributes have another size than Android's, so they go through `threads.c`.
ARM64 = Machine(
    "aarch64-linux-gnu-gcc",
    "adrp x16, :got:NAME; ldr x16, [x16, :got_lo12:NAME]; br x16",
    ("bionic.c", "threads.c", "start.c"),
)


def write(out: Path, work: Path, machine: Machine, users: Sequence[Path]) -> None:
    """Write `libc.so`, `libm.so`, `libdl.so`, `liblog.so` and `libandroid.so` for some libraries.

    Args:
        out: the folder to write into.
        work: a folder for what is thrown away.
        machine: `X86_64` or `ARM64`.
        users: libraries and programs that will be loaded.

    Raises:
        HydraError: the compiler failed.
    """
    sources = [_HERE / name for name in machine.sources]
    _write_generated(work, machine, sources, needed(users))
    (work / "empty.c").write_text("")
    script, before = "", ""
    for version in _VERSIONS:
        script += f"{version} {{ {'global: *; ' if not before else ''}}} {before};\n"
        before = version
    (work / "version").write_text(script)
    versioned = f"-Wl,--version-script={work / 'version'}"
    own = [*map(str, sources), str(work / "jumps.S"), f"-I{work}", versioned, "-lm"]
    link(out / "libc.so", own, machine)
    for name in ("libm.so", "libdl.so"):
        link(out / name, [str(work / "empty.c"), versioned], machine)
    link(out / "liblog.so", [str(_HERE / "log.c")], machine)
    link(out / "libandroid.so", [str(work / "empty.c")], machine)


def needed(users: Sequence[Path]) -> dict[str, str]:
    """Return name -> version of what libraries need of Android's C library."""
    names = {}
    for user in users:
        binary = lief.ELF.parse(str(user))
        assert binary is not None, user
        for symbol in binary.imported_symbols:
            version = symbol.symbol_version
            auxiliary = version.symbol_version_auxiliary if version else None
            if auxiliary is not None and str(auxiliary.name) in _VERSIONS:
                names[str(symbol.name)] = str(auxiliary.name)
    return names


def link(library: Path, inputs: Sequence[str], machine: Machine) -> None:
    """Compile and link a shared library.

    Raises:
        HydraError: the compiler refused; what it said is in the message.
    """
    flags = ["-shared", "-fPIC", "-O1", f"-Wl,-soname,{library.name}"]
    command = [machine.compiler, *flags, "-o", str(library), *inputs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HydraError(f"{command[0]} failed:\n{done.stderr.strip()[-2000:]}")


def _write_generated(
    work: Path, machine: Machine, sources: Sequence[Path], wanted: Mapping[str, str]
) -> None:
    own: set[str] = set(_DATA)
    for number, source in enumerate(sources):
        text = source.read_text()
        found = set(re.findall(r"^[\w *]*\bdevice_(\w+)\(", text, re.MULTILINE))
        # Data is defined in the first of the sources.
        names = sorted(found | (set(_DATA) if number == 0 else set()))
        lines = [f"EXPORT({name}, {wanted.get(name, 'LIBC')})" for name in names]
        (work / f"exports_{source.stem}.h").write_text("\n".join(lines) + "\n")
        own |= found
    jumps = [
        f".globl device_{name}\n.type device_{name}, %function\n"
        f"device_{name}: {machine.jump.replace('NAME', name)}\n"
        f".symver device_{name}, {name}@{version}\n"
        for name, version in sorted(wanted.items())
        if name not in own
    ]
    stack = '.section .note.GNU-stack, "", %progbits\n'
    (work / "jumps.S").write_text("".join(jumps) + stack)
