"""Runs an Android arm64-v8a program unchanged on a desktop: qemu, and an Android C library of ours.

What it shows is what the arm64 code and the arm64 ExecuTorch library answer. It does not show
Android's linker, and its timings say nothing.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from android_demo.tools.desktop import c_library
from hydra_mobile.core.made_once import made_once
from hydra_mobile.devices import emulator

_HERE = Path(__file__).parent
_LIBRARIES = emulator.SYSTEM_ROOT / "lib"


def missing() -> str | None:
    """Say why no program can be run; None: it can."""
    packages = list(emulator.missing_packages())
    if shutil.which(c_library.ARM64.compiler) is None:
        packages.append("g++-aarch64-linux-gnu")
    return f"apt-get install {' '.join(dict.fromkeys(packages))}" if packages else None


def command(program: Path) -> list[str]:
    """Return the command that runs a program, the libraries that it needs being beside it.

    Raises:
        HydraError: the emulator or the cross compiler is missing.
    """
    users = [program, *sorted(program.parent.glob("*.so"))]
    digest = hashlib.sha256()
    for file in [*users, *sorted(_HERE.glob("*.c")), Path(c_library.__file__)]:
        digest.update(file.name.encode() + file.read_bytes())
    system = made_once(f"desktop-arm64-{digest.hexdigest()[:12]}", lambda out: _make(out, users))
    # Android's linker is not there, so the desktop's is started by name.
    loader = _LIBRARIES / "ld-linux-aarch64.so.1"
    search = f"{program.parent}:{system}:{_LIBRARIES}"
    return [*emulator.emulated(loader), "--library-path", search, str(program)]


def _make(out: Path, users: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as work:
        c_library.write(out, Path(work), c_library.ARM64, users)
