"""Which processor a program file is for, read from its ELF header."""

from __future__ import annotations

from pathlib import Path

#: `e_machine` of the ELF specification -> Android's name of the ABI.
_MACHINES = {0x3E: "x86_64", 0xB7: "arm64-v8a", 0x28: "armeabi-v7a", 0x03: "x86"}


def abi_of(program: Path) -> str | None:
    """Return the ABI that a program is for; None for what is no ELF file or another machine's."""
    with program.open("rb") as handle:
        header = handle.read(20)
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    little = header[5] == 1
    return _MACHINES.get(int.from_bytes(header[18:20], "little" if little else "big"))
