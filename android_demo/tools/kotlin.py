"""The Kotlin compiler, from a pinned npm package, and folders of classes that it has made.

Compiling takes most of a minute, so what was compiled stays in the cache until a source changes.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from hydra_mobile.core.downloads.npm import fetch_npm
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.made_once import made_once

#: The app's modules, in a checkout.
APP = Path(__file__).parents[1]
NAME, VERSION = "kotlin-compiler", "2.4.20"
SHA256 = "c23dab400d7ce5ea8b6c909947c0ca5454189e4bb1108695b5f464500e5e950f"
#: What Android's oldest supported releases can run.
TARGET = "1.8"
_TAIL = 3000


def java() -> str:
    """Return the path of the `java` program.

    Raises:
        HydraError: there is none.
    """
    found = shutil.which("java")
    if found is None:
        raise HydraError(
            "java is not installed, and the Kotlin compiler runs on it.",
            "On Debian: apt-get install openjdk-17-jdk-headless",
        )
    return found


def standard_library() -> Path:
    """Return Kotlin's standard library, a jar.

    Raises:
        HydraError, ArtifactError: see `fetch_npm`.
    """
    return _compiler() / "kotlin-stdlib.jar"


def compile_kotlin(
    name: str,
    sources: Sequence[Path],
    classpath: Sequence[Path] = (),
    friend: Path | None = None,
    platform: Path | None = None,
    strict: bool = True,
) -> Path:
    """Return a folder with the classes of some sources, compiling them when one has changed.

    Args:
        name: for the folder.
        sources: files, or folders with Kotlin files in them.
        classpath: what they use; the standard library is added.
        friend: one of the classpath whose internal names may be used, as a module's tests do.
        platform: classes of the system that they run on, where it is not this machine's Java.
        strict: whether a warning is an error; of what Android advises against, tests use much.

    Raises:
        HydraError: java is missing, or the sources do not compile; the compiler's words are in it.
        ArtifactError: the compiler's package is damaged.
    """
    files = sorted(file for source in sources for file in _kotlin_files(source))
    compiler = _compiler()
    system = [platform] if platform else []
    libraries = [*system, compiler / "kotlin-stdlib.jar", *classpath]
    options = [f"-Xfriend-paths={friend}"] if friend else []
    options += ["-no-jdk"] if platform else []
    options += ["-Werror"] if strict else ["-nowarn"]
    return made_once(
        f"{name}-{_digest(files, libraries)}",
        lambda out: _compile(compiler, files, libraries, options, out),
    )


def _compile(
    compiler: Path, files: Sequence[Path], libraries: Sequence[Path], options: list[str], out: Path
) -> None:
    command = [
        *(java(), "-Xmx900m", "-cp", str(compiler / "kotlin-preloader.jar")),
        "org.jetbrains.kotlin.preloading.Preloader",
        *("-cp", str(compiler / "kotlin-compiler.jar")),
        "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler",
        *("-no-stdlib", "-no-reflect", "-jvm-target", TARGET),
        *("-classpath", ":".join(map(str, libraries)), "-d", str(out)),
        *options,
        *map(str, files),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HydraError(
            f"The Kotlin compiler refused {len(files)} files:\n{done.stderr.strip()[-_TAIL:]}",
            "Mend the sources.",
        )


def _compiler() -> Path:
    """Return the folder of the compiler's jars."""

    def unpack(out: Path) -> None:
        with tarfile.open(fetch_npm(NAME, VERSION, SHA256)) as members:
            for member in members:
                path = Path(member.name)
                if path.parent.as_posix() == "package/lib" and path.suffix == ".jar":
                    member.name = path.name
                    members.extract(member, out, filter="data")

    return made_once(f"kotlin-{VERSION}", unpack)


def _kotlin_files(source: Path) -> list[Path]:
    if not source.exists():
        raise HydraError(
            f"{source} is missing: the app's sources are in a checkout only.",
            "Run this in a checkout of the repository.",
        )
    return [source] if source.is_file() else sorted(source.rglob("*.kt"))


def _digest(files: Sequence[Path], libraries: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"{VERSION} {TARGET}".encode())
    for file in files:
        digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    # Folders of classes are named by a digest of their own; jars by their version.
    digest.update(" ".join(map(str, libraries)).encode())
    return digest.hexdigest()[:12]
