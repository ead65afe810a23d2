"""The jars with Android 14's framework code: pinned in `jars.tsv`, found, restored or downloaded.

`HYDRA_MOBILE_ANDROID_JARS` names a folder that has the jars, or packs of them (`packs`). Without it
Maven downloads them; two lie on Google's repository, which Maven's settings have to name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from android_demo.tools.framework import packs
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import cache_home, sha256_of
from hydra_mobile.core.made_once import made_once
from hydra_mobile.core.temporary import scratch

VARIABLE = "HYDRA_MOBILE_ANDROID_JARS"
TABLE = Path(__file__).with_name("jars.tsv")
_FRAMEWORK = "android-all-instrumented-"
_HEADERS_SOURCE = Path(__file__).with_name("HeaderJar.java")
_TAIL = 1500


@dataclass(frozen=True)
class Jar:
    """One pinned jar: its file name, its sha256, the published sha256, its Maven coordinates."""

    file: str
    sha256: str
    published: str
    coordinates: str

    @property
    def sums(self) -> set[str]:
        """The sums that a file of this name may have."""
        return {self.sha256} if self.coordinates.endswith(":aar") else {self.sha256, self.published}


@dataclass(frozen=True)
class Jars:
    """Where the jars are.

    Attributes:
        folder: of all jars; Robolectric looks there too.
        framework: Android's code.
        headers: what a compiler sees of it.
        small: everything else.
    """

    folder: Path
    framework: Path
    headers: Path
    small: tuple[Path, ...]


def pinned() -> list[Jar]:
    """Return the table's jars."""
    rows = [
        line.split("\t")
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    return [
        Jar(file, sha256, published or sha256, where) for file, sha256, published, where in rows
    ]


def missing() -> str | None:
    """Say why there are no jars here and nothing can fetch them; None: `jars` is worth calling."""
    named = os.environ.get(VARIABLE)
    if _cached().is_dir():
        return None
    if named:
        folder = Path(named)
        if any(folder.glob("*.pack.xz")) or all((folder / jar.file).is_file() for jar in pinned()):
            return None
        return f"{VARIABLE} is {named}, which has neither packs nor the jars of {TABLE.name}"
    if shutil.which("mvn"):
        return None
    return (
        f"Android's framework jars are not here: set {VARIABLE} to a folder that has them or their "
        "packs, or install Maven (apt-get install maven)"
    )


@cache
def jars() -> Jars:
    """Return the jars, all of them checked when they came.

    Raises:
        HydraError: they can be had nowhere; Maven's words are in the message.
        ArtifactError: one is not the pinned file.
    """
    if reason := missing():
        raise HydraError(f"{reason}.", kind="missing")
    folder = made_once(_cached().name, _fill)
    framework = next(folder.glob(f"{_FRAMEWORK}*.jar"))
    small = tuple(sorted(jar for jar in folder.glob("*.jar") if jar != framework))
    return Jars(folder, framework, _headers(framework, small), small)


def _cached() -> Path:
    stamp = sha256_of(TABLE)[:12]
    return cache_home() / "android" / f"framework-jars-{stamp}"


def _fill(out: Path) -> None:
    named = os.environ.get(VARIABLE)
    wanted = pinned()
    if named is None:
        _download(wanted, out)
    else:
        found = sorted(Path(named).glob("*.pack.xz"))
        for pack in found:
            packs.restore(pack, out, {jar.file for jar in wanted})
        for jar in wanted:
            if not (out / jar.file).is_file() and (Path(named) / jar.file).is_file():
                shutil.copyfile(Path(named) / jar.file, out / jar.file)
    for jar in wanted:
        path = out / jar.file
        if not path.is_file():
            raise HydraError(f"{jar.file} ({jar.coordinates}) is in no pack of {named}.")
        if (found_sum := sha256_of(path)) not in jar.sums:
            raise ArtifactError(
                f"{jar.file} has sha256 {found_sum}, expected {' or '.join(sorted(jar.sums))}.",
                "Delete it where it came from and fetch it again.",
            )


def _download(wanted: Sequence[Jar], out: Path) -> None:
    """Fetch all with Maven, by coordinates."""
    with scratch(out.parent, "jars") as temporary:
        for jar in wanted:
            group, name, version, *kind = jar.coordinates.split(":")
            suffix = kind[0] if kind else "jar"
            artifact = f"{group}:{name}:{version}:{suffix}"
            command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}"]
            done = subprocess.run(
                [*command, f"-DoutputDirectory={temporary}"],
                capture_output=True,
                text=True,
                check=False,
            )
            fetched = temporary / f"{name}-{version}.{suffix}"
            if done.returncode != 0 or not fetched.is_file():
                said = (done.stdout or done.stderr)[-_TAIL:]
                raise HydraError(
                    f"Maven could not download {artifact}:\n{said}",
                    "Check the network and Maven's settings; the androidx artifacts need Google's "
                    f"repository in them. Or set {VARIABLE} to a folder that has the jars.",
                )
            if sha256_of(fetched) not in (jar.published, jar.sha256):
                raise ArtifactError(f"{artifact} is not the pinned file.", "Report it.")
            if suffix == "aar":
                with zipfile.ZipFile(fetched) as aar:
                    (out / jar.file).write_bytes(aar.read("classes.jar"))
            else:
                shutil.move(fetched, out / jar.file)


def _headers(framework: Path, small: Sequence[Path]) -> Path:
    """Return the jar of what a compiler sees of the framework, made when it is absent."""
    asm = [jar for jar in small if jar.name.startswith("asm-")]

    def make(out: Path) -> None:
        done = subprocess.run(
            [
                *("java", "-Xmx1g", "-cp", ":".join(map(str, asm)), str(_HEADERS_SOURCE)),
                *(str(framework), str(out / "headers.jar")),
                *("android/", "dalvik/", "org/json/", "org/xmlpull/", "com/android/internal/"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise HydraError(f"The framework's headers cannot be made:\n{done.stderr[-_TAIL:]}")

    stamp = f"{sha256_of(TABLE)[:8]}{sha256_of(_HEADERS_SOURCE)[:8]}"
    return made_once(f"framework-headers-{stamp}", make) / "headers.jar"
