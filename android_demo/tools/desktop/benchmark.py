"""Runs the app's own benchmark mode on a desktop's JVM, in a process of its own.

A crash of the native library ends that process only, and its signal is told.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from android_demo.tools import kotlin, onnxruntime_aar
from android_demo.tools.desktop import libraries
from android_demo.tools.kotlin import APP
from hydra_mobile.core.errors import ArtifactError, HydraError

_MAIN = "org.hydramobile.runtime.ort.DesktopBenchmarkKt"
#: Exit codes that mean that bundle or program cannot be used.
_UNUSABLE = (2, 3)


def classes() -> list[Path]:
    """Return the class path of the app's core, its ONNX Runtime and the desktop's harness.

    Raises:
        HydraError, ArtifactError: see `kotlin.compile_kotlin` and `onnxruntime_aar.unpacked`.
    """
    java_api = onnxruntime_aar.unpacked() / "classes.jar"
    core = kotlin.compile_kotlin("core", [APP / "core" / "src" / "main" / "kotlin"])
    sources = [APP / "runtime-ort" / "src" / part / "kotlin" for part in ("main", "desktop")]
    runtime = kotlin.compile_kotlin("runtime-ort", sources, [core, java_api])
    return [core, runtime, java_api, kotlin.standard_library()]


def run_benchmark(
    bundle: Path, requests: Path, answers: Path, *, kind: str = "android", threads: int = 0
) -> None:
    """Answer a file of questions, as the app does when a host starts its benchmark mode.

    Args:
        bundle: of the runtime `onnx`.
        requests: a file as `hydra_mobile.devices.batch_format` writes it.
        answers: grows; what it has is not asked again.
        kind: whose kernels compute, one of `libraries.KINDS`.
        threads: 0 leaves the choice to the library.

    Raises:
        ArtifactError: the app refused the bundle or the requests, or its runtime did.
        HydraError: it ended in another way, by a signal for example.
    """
    arguments = [str(bundle), str(requests), str(answers), str(threads)]
    run_main(_MAIN, arguments, classes(), kind)


def run_main(main: str, arguments: Sequence[str], classpath: Sequence[Path], kind: str) -> str:
    """Run a program on the test device; return what it printed.

    Raises:
        ArtifactError, HydraError: as `run_benchmark`.
    """
    command = [
        *(kotlin.java(), "-Xmx1g", f"-Donnxruntime.native.path={libraries.folder(kind)}"),
        *("-cp", ":".join(map(str, classpath)), main, *arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr or done.stdout).strip()[-3000:]
    if done.returncode < 0 or done.returncode > 128:
        number = -done.returncode if done.returncode < 0 else done.returncode - 128
        raise HydraError(f"The app's process was ended by {signal.Signals(number).name}:\n{said}")
    kind_of_error = ArtifactError if done.returncode in _UNUSABLE else HydraError
    raise kind_of_error(f"The app ended with code {done.returncode}: {said}")
