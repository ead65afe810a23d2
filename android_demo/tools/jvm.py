"""Tests of the app's modules on a desktop's JVM: compiled with the pinned compiler, run by JUnit 4.

Each run is a process of its own, so that a native crash in it is a failed test and not the end of
whoever asked.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from android_demo.tools import kotlin
from android_demo.tools.kotlin import APP
from hydra_mobile.core.errors import HydraError

#: Of Debian's package junit4, and of what it needs.
JUNIT = (Path("/usr/share/java/junit4.jar"), Path("/usr/share/java/hamcrest-core.jar"))
_SECONDS = 900
_TAIL = 6000


def missing() -> str | None:
    """Say why no test can be run here; None: they can."""
    try:
        kotlin.java()
    except HydraError as error:
        return str(error)
    if not all(jar.is_file() for jar in JUNIT):
        return "JUnit is not installed: apt-get install junit4"
    return None


def run_jvm_tests(
    module: str,
    classpath: Sequence[Path] = (),
    properties: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run every test class of a module.

    Args:
        module: its folder in `android_demo`, for example "core".
        classpath: what it needs beside the standard library, compiled modules and jars.
        properties: Java system properties, for tests that read files.
        environment: variables beside this process's.

    Raises:
        HydraError: something is missing, does not compile, a test failed, or the JVM crashed or
            hung; the message ends with what was printed.
    """
    if reason := missing():
        raise HydraError(f"The tests of {module} cannot run: {reason}")
    main = kotlin.compile_kotlin(module, [APP / module / "src" / "main" / "kotlin"], classpath)
    sources = APP / module / "src" / "test" / "kotlin"
    libraries = [main, *classpath, *JUNIT]
    tests = kotlin.compile_kotlin(f"{module}-test", [sources], libraries, friend=main)
    files = sorted(sources.rglob("*Test.kt"))
    names = [".".join(file.relative_to(sources).with_suffix("").parts) for file in files]
    written = sum(file.read_text(encoding="utf-8").count("@Test") for file in files)
    jars = [*libraries, tests, kotlin.standard_library()]
    command = [kotlin.java(), *(f"-D{key}={value}" for key, value in (properties or {}).items())]
    command += ["-cp", ":".join(map(str, jars)), "org.junit.runner.JUnitCore", *names]
    done = run_tests(command, module, _SECONDS, environment)
    # Not the exit code alone: a class that JUnit did not look at would be green too.
    ran = re.search(r"^OK \((\d+) tests?\)", done.stdout, re.MULTILINE)
    if done.returncode or ran is None or int(ran[1]) != written:
        raise HydraError(
            f"The {written} tests of {module} failed (exit code {done.returncode}):\n"
            f"{done.stdout[-_TAIL:]}{done.stderr[-_TAIL:]}"
        )


def run_tests(
    command: Sequence[str | Path],
    what: str,
    seconds: int,
    environment: Mapping[str, str] | None = None,
    tail: int = _TAIL,
) -> subprocess.CompletedProcess[str]:
    """Run a JVM with tests to its end, whatever its exit code.

    Args:
        command: the program and its arguments.
        what: is tested, for the message.
        seconds: that it may take.
        environment: variables beside this process's.
        tail: characters of the output that the message keeps.

    Raises:
        HydraError: it hung; the message ends with what was printed.
    """
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode(errors="replace")[-tail:]
        raise HydraError(f"The tests of {what} hung for {seconds} s:\n{said}") from None
