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

    About 450 MB, once. The exit code is 2 while something is missing.
    """
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from android_demo.tools import executorch_bridge, kotlin, onnxruntime_aar, tools
    from hydra_mobile.devices.android.executorch_package import DESCRIPTION
    from hydra_mobile.devices.android.toolchain import ABIS

    say(f"Kotlin {kotlin.VERSION}: {kotlin.standard_library().parent}")
    say(f"ONNX Runtime {onnxruntime_aar.VERSION} for Android: {onnxruntime_aar.unpacked()}")
    for abi in ABIS:
        say(f"{DESCRIPTION} and the bridge to it: {executorch_bridge.libraries(abi)}")
    say(f"D8 and Android's classes: {tools.android_jar()}")
    tools.require()
    say("all tools are here: hydra-mobile app build")


@app.command()
def build(
    abi: list[str] = typer.Option(
        [], help="arm64-v8a or x86_64; may be given twice.", show_default="both"
    ),
    runtimes: str = typer.Option(
        "executorch,onnx", help="What the app can run, separated by commas."
    ),
    out: Path | None = typer.Option(None, help="File to write; without, in the cache."),
) -> None:
    """Build the app, sign it with this machine's debug key, and check it.

    Prints the size of each part. The exit code is 3 where a check fails.
    """
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from android_demo.tools import apk_build

    names = [name.strip() for name in runtimes.split(",") if name.strip()]
    apk = apk_build.build(say, apk_build.Contents.of(abi, names), out)
    _check(apk)
    say(_NEVER_STARTED.format(path=apk))


@app.command("libraries")
def write_libraries(
    out: Path = typer.Option(..., help="Folder to write <abi>/*.so into."),
) -> None:
    """Write ExecuTorch's native libraries and the bridge to them, for the Gradle project."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    import shutil

    from android_demo.tools import executorch_bridge
    from hydra_mobile.devices.android.toolchain import ABIS

    for abi in ABIS:
        built = executorch_bridge.libraries(abi)
        (out / abi).mkdir(parents=True, exist_ok=True)
        for name in executorch_bridge.LIBRARIES:
            shutil.copyfile(built / name, out / abi / name)
            say(str(out / abi / name))


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
        onnx = {"hydra.bundle": str(write_bundle(folder / "onnx"))}
        executorch = {"hydra.bundle": str(write_bundle(folder / "et", runtime="executorch"))}
        say("core: compiling and testing")
        vectored = {**onnx, "hydra.vectors": str(folder / "vectors")}
        jvm.run_jvm_tests("core", properties=vectored)
        say("core: passed")
        if reason := libraries.missing():
            say(f"runtime-et, runtime-ort: not tested here: {reason}")
            return
        app_modules = benchmark.modules()
        native = libraries.folder("android")
        used = {
            "runtime-et": ([app_modules.core], executorch),
            "runtime-ort": ([app_modules.core, app_modules.ort_api], onnx),
        }
        for module, (classes, properties) in used.items():
            say(f"{module}: compiling and testing with its Android x86_64 library")
            jvm.run_jvm_tests(
                module,
                classes,
                {**properties, **libraries.properties(native)},
                libraries.environment(native),
            )
            say(f"{module}: passed")


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
