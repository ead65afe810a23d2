"""Runs the app's tests on Android's own framework code, in one JVM.

Resources and classes are those that the APK's build makes. The tests are in
`android_demo/app/src/test`; `SuiteRun.kt` there is their program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_demo.tools import apk_build, kotlin, tools
from android_demo.tools.framework import jars
from android_demo.tools.jvm import run_tests
from android_demo.tools.kotlin import APP
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.made_once import made_once

#: The flavor whose classes are tested; tests hand it their own runtimes.
FLAVOR = "both"
SOURCES = APP / "app" / "src" / "test" / "kotlin"
#: What the app's tests share with those of its core.
SHARED = APP / "core" / "src" / "test" / "kotlin" / "org" / "hydramobile" / "core"
_SHARED_FILES = ("FakeRuntime.kt", "MadeBundle.kt")
_PROGRAM = f"{apk_build.PACKAGE}.SuiteRun"
#: What Robolectric reaches into.
_OPENED = ("lang", "util", "io", "net", "lang.reflect", "text", "nio")
_SECONDS = 1800
_TAIL = 12000


@dataclass(frozen=True)
class Outcome:
    """What the tests said.

    Attributes:
        tests: class -> tests that ran.
        text: everything that was printed.
    """

    tests: dict[str, int]
    text: str


def missing() -> str | None:
    """Say why the tests cannot run here; None: they can."""
    if packages := tools.missing_packages():
        return f"not installed: {', '.join(packages)}"
    return jars.missing()


def test_classes() -> list[str]:
    """Return the names of the test classes, without their package."""
    return sorted(file.stem for file in SOURCES.rglob("*Test.kt"))


def run(
    classes: Sequence[str] = (),
    *,
    slow: bool = False,
    properties: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    classpath: Sequence[Path] = (),
) -> Outcome:
    """Run test classes.

    Args:
        classes: their names without package, or `Class#method`; none: all.
        slow: the slow tests and no others, instead of the everyday ones.
        properties: Java system properties beside those of the harness.
        environment: variables beside this process's.
        classpath: beside what the harness needs.

    Raises:
        HydraError: something is missing, does not compile, or a test failed; the message ends with
            what was printed.
        ArtifactError: a pinned jar is not what it should be.
    """
    if reason := missing():
        raise HydraError(f"The app's screens cannot be tested here: {reason}.", kind="missing")
    names = list(classes) or test_classes()
    command = _command(properties or {}, classpath)
    command += [_PROGRAM, "slow" if slow else "everyday"]
    command += [f"{apk_build.PACKAGE}.{name}" for name in names]
    done = run_tests(command, "the screens", _SECONDS, environment, _TAIL)
    text = done.stdout
    if done.returncode != 0 or "\nALL PASSED" not in text:
        raise HydraError(
            f"Tests of the app's screens failed (exit code {done.returncode}):\n"
            f"{text[-_TAIL:]}{done.stderr[-2000:]}"
        )
    found = re.findall(r"^(\w+): (\d+) tests? in [\d.]+ s$", text, re.MULTILINE)
    return Outcome({name: int(count) for name, count in found}, text)


def _command(properties: Mapping[str, str], classpath: Sequence[Path]) -> list[str]:
    jars_here = jars.jars()
    app = apk_build.classes(FLAVOR)
    beside = [*app, *jars_here.small, *classpath, kotlin.standard_library()]
    compiled = kotlin.compile_kotlin(
        "app-test",
        [SOURCES, *(SHARED / name for name in _SHARED_FILES)],
        [jars_here.headers, *app, *jars_here.small],
        friend=app[0],
        strict=False,
    )
    config = _config()
    opened = [*(f"java.{name}" for name in _OPENED), "jdk.internal.access"]
    return [
        *(kotlin.java(), "-Xmx2g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
        # With what it has at this level, the JVM stops compiling in the middle of the suite.
        "-XX:ReservedCodeCacheSize=256m",
        # Screens are made and thrown away: with more room for what is new, little of it is copied.
        *("-Xms1g", "-Xmn512m"),
        # Verifying thousands of framework classes takes seconds; D8 verifies the app's for the APK.
        *("-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote"),
        *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in opened),
        *("-Drobolectric.offline=true", f"-Drobolectric.dependency.dir={jars_here.folder}"),
        *(f"-D{key}={value}" for key, value in properties.items()),
        # The framework itself is there for the annotations of Robolectric alone.
        *("-cp", ":".join(map(str, [config, compiled, *beside, jars_here.framework]))),
    ]


def _config() -> Path:
    """Return a folder that tells Robolectric where manifest, resources and assets are."""
    # Languages change no number: the classes were compiled with those of the APK.
    resources = apk_build.resources(pseudo=True)
    assets = APP / "app" / "src" / "main" / "assets"
    lines = {
        "android_merged_manifest": resources / "AndroidManifest.xml",
        "android_resource_apk": resources / "base.apk",
        "android_merged_assets": assets,
        "android_custom_package": apk_build.PACKAGE,
    }
    text = "".join(f"{key}={value}\n" for key, value in lines.items())

    def make(out: Path) -> None:
        file = out / "com" / "android" / "tools" / "test_config.properties"
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")

    digest = resources.name.rpartition("-")[2]
    return made_once(f"framework-config-{digest}", make)
