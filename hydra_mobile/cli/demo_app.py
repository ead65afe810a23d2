"""`hydra-mobile app`: the demo app, built, checked and tested without Google's SDK."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(
    help="The Android demo app: build a signed debug APK, check one, test the app's code in a JVM.",
    no_args_is_help=True,
)

#: What every user of an APK has to know about it.
_NEVER_STARTED = (
    "Built and checked on this machine; no test has started it on a phone. Install it with: "
    "adb install -r {path}"
)


@app.command()
def setup() -> None:
    """Fetch the pinned tools into the cache; name the Debian packages that are missing.

    About 330 MB, once. The exit code is 2 while something is missing.
    """
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from android_demo.tools import kotlin, onnxruntime_aar, tools

    say(f"Kotlin {kotlin.VERSION}: {kotlin.standard_library().parent}")
    say(f"ONNX Runtime {onnxruntime_aar.VERSION} for Android: {onnxruntime_aar.unpacked()}")
    say(f"D8 and Android's classes: {tools.android_jar()}")
    tools.require()
    say("all tools are here: hydra-mobile app build")


@app.command()
def build(
    abi: list[str] = typer.Option(
        [], help="arm64-v8a or x86_64; may be given twice.", show_default="both"
    ),
    out: Path | None = typer.Option(None, help="File to write; without, in the cache."),
) -> None:
    """Build the app, sign it with this machine's debug key, and check it.

    Prints the size of each part. The exit code is 3 where a check fails.
    """
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from android_demo.tools import apk_build

    apk = apk_build.build(say, abi or apk_build.ABIS, out)
    _check(apk)
    say(_NEVER_STARTED.format(path=apk))


@app.command()
def check(apk: Path = typer.Argument(..., help="An APK of this app.")) -> None:
    """Check an APK without starting it; the exit code is 3 where a check fails."""
    from hydra_mobile.cli.console import prepare

    prepare()
    _check(apk)


@app.command("test")
def run_tests() -> None:
    """Test the app's code in this machine's JVM against what Python computes now; minutes."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    import tempfile

    from android_demo.tools import jvm, vectors
    from android_demo.tools.desktop import benchmark, libraries
    from android_demo.tools.vector_bundle import write_bundle
    from hydra_mobile.core.errors import HydraError

    if reason := jvm.missing():
        raise HydraError(f"The app's tests cannot run here: {reason}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        say("writing vectors and a small bundle")
        vectors.write_vectors(folder / "vectors", bases=("tiny",))
        properties = {"hydra.bundle": str(write_bundle(folder / "bundle"))}
        say("core: compiling and testing")
        vectored = {**properties, "hydra.vectors": str(folder / "vectors")}
        jvm.run_jvm_tests("core", properties=vectored)
        say("core: passed")
        if reason := libraries.missing():
            say(f"runtime-ort: not tested here: {reason}")
            return
        say("runtime-ort: compiling and testing with ONNX Runtime's Android x86_64 library")
        core, _, java_api, _ = benchmark.classes()
        native = {"onnxruntime.native.path": str(libraries.folder("android"))}
        jvm.run_jvm_tests("runtime-ort", [core, java_api], {**properties, **native})
        say("runtime-ort: passed")


def _check(apk: Path) -> None:
    from android_demo.tools import apk_build, apk_check
    from hydra_mobile.cli.console import say
    from hydra_mobile.core.errors import ParityError

    checks = apk_check.check(apk)
    say(f"{apk}: {apk.stat().st_size / 1e6:.1f} MB")
    for part, size in apk_build.parts(apk).items():
        say(f"  {size / 1e6:7.2f} MB  {part}")
    for each in checks:
        say(f"{'FAILED' if each.faults else 'ok':6}  {each.name}: {each.found}")
        for fault in each.faults:
            say(f"        {fault}")
    if failed := [each.name for each in checks if each.faults]:
        raise ParityError(
            f"{apk} fails {len(failed)} of {len(checks)} checks: {', '.join(failed)}.",
            "Do not give it to anyone; what is wrong is listed above.",
        )
