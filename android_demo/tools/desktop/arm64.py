"""Runs Android arm64-v8a code unchanged on a desktop: qemu, and an Android C library of ours.

A program by itself, or the app's libraries in a JVM for arm64, where there is one.

What it shows is what the arm64 code and the arm64 ExecuTorch library answer. It does not show
Android's linker, and its timings say nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from android_demo.tools.desktop import c_library
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.made_once import made_once
from hydra_mobile.core.temporary import working_folder
from hydra_mobile.devices import emulator

_HERE = Path(__file__).parent
#: The folder of a JVM for arm64 that is not where Debian puts it.
_JVM_VARIABLE = "HYDRA_MOBILE_ARM64_JVM"
_JVM_PACKAGE = "openjdk-17-jre-headless:arm64"
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


def java_command(native: Path) -> list[str]:
    """Return the command that runs a JVM for arm64 which finds the libraries of a folder.

    Args:
        native: what `libraries.folder(libraries.EMULATED)` returned.

    Raises:
        HydraError: no such JVM is installed, or the emulator is missing.
    """
    home = _jvm()
    if home is None:
        raise HydraError(
            "No JVM for arm64 is installed.",
            f"On Debian: dpkg --add-architecture arm64, then apt-get install {_JVM_PACKAGE}; or "
            f"unpack it anywhere and name the folder that has bin/java in {_JVM_VARIABLE}.",
        )
    # Where Debian's package lies: ROOT/usr/lib/jvm/NAME, and what it needs below the same root.
    beside = [home.parents[1] / "aarch64-linux-gnu", home.parents[3] / "lib" / "aarch64-linux-gnu"]
    search = ":".join(map(str, [native, *beside, _LIBRARIES]))
    *options, java = emulator.emulated(home / "bin" / "java")
    # Interpreted: what a JVM translates, qemu translates once more.
    return [*options, "-E", f"LD_LIBRARY_PATH={search}", java, "-Xint"]


def missing_java() -> str | None:
    """Say why no JVM for arm64 can be run; None: it can."""
    return missing() or (None if _jvm() else f"apt-get install {_JVM_PACKAGE}")


def _jvm() -> Path | None:
    """Return the folder of a JVM for arm64."""
    named = os.environ.get(_JVM_VARIABLE)
    found = [Path(named)] if named else sorted(Path("/usr/lib/jvm").glob("java-*-openjdk-arm64"))
    return next((home for home in found if (home / "bin" / "java").is_file()), None)


def _make(out: Path, users: list[Path]) -> None:
    with working_folder("libraries") as work:
        c_library.write(out, work, c_library.ARM64, users)
