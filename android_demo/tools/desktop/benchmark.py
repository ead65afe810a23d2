"""Runs the app's own benchmark mode on a desktop's JVM, in a process of its own.

A crash of a native library ends that process only, and its signal is told.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from android_demo.tools import kotlin, onnxruntime_aar
from android_demo.tools.desktop import arm64, libraries
from android_demo.tools.kotlin import APP
from hydra_mobile.core.errors import ArtifactError, HydraError

_MAIN = "org.hydramobile.desktop.DesktopBenchmarkKt"
#: Exit codes that mean that bundle or program cannot be used.
_UNUSABLE = (2, 3)


@dataclass(frozen=True)
class Modules:
    """Compiled modules of the app: folders of classes, and ONNX Runtime's Java API."""

    core: Path
    runtime_ort: Path
    runtime_et: Path
    ort_api: Path


def modules() -> Modules:
    """Compile the app's core and its runtimes.

    Raises:
        HydraError, ArtifactError: see `kotlin.compile_kotlin` and `onnxruntime_aar.unpacked`.
    """
    ort_api = onnxruntime_aar.unpacked() / "classes.jar"
    core = kotlin.compile_kotlin("core", [_sources("core")])
    ort = kotlin.compile_kotlin("runtime-ort", [_sources("runtime-ort")], [core, ort_api])
    et = kotlin.compile_kotlin("runtime-et", [_sources("runtime-et")], [core])
    return Modules(core, ort, et, ort_api)


def classes() -> list[Path]:
    """Return the class path of the app's core, its runtimes and the desktop's program."""
    app = modules()
    own = [app.core, app.runtime_ort, app.runtime_et, app.ort_api]
    program = kotlin.compile_kotlin("desktop", [Path(__file__).parent], own)
    return [program, *own, kotlin.standard_library()]


def _sources(module: str) -> Path:
    return APP / module / "src" / "main" / "kotlin"


def run_benchmark(
    bundle: Path, requests: Path, answers: Path, *, kind: str = "android", threads: int = 0
) -> None:
    """Answer a file of questions, as the app does when a host starts its benchmark mode.

    Args:
        bundle: of a runtime that the app has.
        requests: a file as `hydra_mobile.devices.batch_format` writes it.
        answers: grows; what it has is not asked again.
        kind: whose ONNX Runtime computes, one of `libraries.KINDS`; ExecuTorch is Android's.
            `libraries.EMULATED`: both are Android's for arm64-v8a, in a JVM under qemu.
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
    native = libraries.folder(kind)
    properties = [f"-D{key}={value}" for key, value in libraries.properties(native).items()]
    java = arm64.java_command(native) if kind == libraries.EMULATED else [kotlin.java()]
    command = [*java, "-Xmx1g", *properties]
    command += ["-cp", ":".join(map(str, classpath)), main, *arguments]
    # The emulator hands its own search path on.
    own = {} if kind == libraries.EMULATED else libraries.environment(native)
    environment = {**os.environ, **own}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr or done.stdout).strip()[-3000:]
    if done.returncode < 0 or done.returncode > 128:
        number = -done.returncode if done.returncode < 0 else done.returncode - 128
        raise HydraError(f"The app's process was ended by {signal.Signals(number).name}:\n{said}")
    kind_of_error = ArtifactError if done.returncode in _UNUSABLE else HydraError
    raise kind_of_error(f"The app ended with code {done.returncode}: {said}")
