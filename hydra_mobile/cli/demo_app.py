"""`hydra-mobile app`: the Android app, built, checked and tested without Google's SDK."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import existing, names, opened
from hydra_mobile.cli.places import FilePlace, FolderPlace
from hydra_mobile.cli.ui.formats import megabytes
from hydra_mobile.core.errors import CheckFailed, HydraError, MissingPackageError
from hydra_mobile.core.own_files import APP

app = ui.new_app("Build, check or test the Android app.")


def _require_sources() -> None:
    """Raise unless the app's sources are here: they are in a checkout, not in an installed wheel.

    Raises:
        MissingPackageError: they are not.
    """
    if importlib.util.find_spec("android_demo") is None:
        raise MissingPackageError(
            "the Android app's sources are not installed",
            [
                "get a checkout of the project (its folder android_demo has them), then there:",
                "pip install -e .",
            ],
            where="android_demo",
            found="an installed package, without the app's sources",
            expected="a checkout",
        )


def setup() -> ui.Result:
    """Fetch the pinned tools; name the packages that are missing.

    About 450 MB, once, into the cache. The exit code is 2 while something is missing.
    """
    _require_sources()
    ui.title("Setting up the app's tools")
    ui.prepare()
    from android_demo.tools import executorch_bridge, kotlin, onnxruntime_aar, tools

    found = {
        f"Kotlin {kotlin.VERSION}": kotlin.standard_library().parent,
        f"ONNX Runtime {onnxruntime_aar.VERSION}": onnxruntime_aar.unpacked(),
        "D8": tools.android_jar(),
    }
    for each in executorch_bridge.ABIS:
        found[f"{executorch_bridge.DESCRIPTION}, {each}"] = executorch_bridge.libraries(each)
    for name, path in found.items():
        ui.step(name, str(path))
    tools.require()
    ui.line("All tools are here.")
    return ui.Result({"tools": found}, next=["hydra-mobile app build"])


def build(
    abi: Annotated[
        list[str] | None,
        typer.Option(metavar="ABI", show_default="both", help="arm64-v8a or x86_64; repeatable"),
    ] = None,
    runtimes: Annotated[
        str, typer.Option(metavar="A,B", help="What the app can run")
    ] = "executorch,onnx",
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            show_default="none",
            help="Bundle to put into the app: install, ask; a run is exported first",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=FilePlace(APP), show_default="in the cache", help="APK"
        ),
    ] = None,
) -> ui.Result:
    """Build the app, sign it with a debug key, and check it.

    The exit code is 3 where a check fails.
    """
    _require_sources()
    if not names(runtimes):
        raise HydraError(
            "--runtimes names none",
            "Leave it out for all of them.",
            where="--runtimes",
            found=runtimes,
            expected="executorch, onnx or both",
        )
    model = Path(opened(bundle, "--bundle", names=False)) if bundle else None
    ui.title("Building the Android app")
    ui.prepare()
    from android_demo.tools import apk_build

    contents = apk_build.Contents.of(abi or [], names(runtimes))
    if model:
        made = _bundle_of(model, contents.runtimes[0])
        contents = apk_build.Contents.of(abi or [], names(runtimes), made)
    apk = apk_build.build(ui.say, contents, out)
    result = _check(apk)
    ui.line(f"App: {apk}")
    ui.warn("It has a debug key: not for a store. docs/android.md says how to sign.")
    ui.warn("No test has started it on a phone yet.")
    return ui.Result(
        result.data,
        brief=str(apk),
        next=[f"adb install -r {apk}"],
        failed=result.failed,
    )


def _bundle_of(model: Path, runtime: str) -> Path:
    """Return a bundle: the one that is given, or that of a run in the default preset."""
    from hydra_mobile.api.export import export
    from hydra_mobile.api.paths import default_bundle_folder, is_bundle

    if is_bundle(model):
        return model
    from hydra_export.targets import target_for

    preset = target_for("android", runtime).default_preset
    folder = default_bundle_folder(model, "android", runtime, preset)
    if is_bundle(folder):
        ui.say(f"the bundle that was exported before: {folder}")
        return folder
    ui.say(f"exporting {model} to {folder}")
    return export(model, "android", runtime=runtime, preset=preset, out=folder, log=ui.say).folder


def libraries(
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            parser=FolderPlace("native libraries"),
            help="Folder that <abi>/*.so are written into",
        ),
    ],
) -> ui.Result:
    """Write ExecuTorch's native libraries, for the Gradle project.

    With the bridge to them.
    """
    _require_sources()
    ui.prepare()
    import shutil

    from android_demo.tools import executorch_bridge

    made = []
    for each in executorch_bridge.ABIS:
        built = executorch_bridge.libraries(each)
        (out / each).mkdir(parents=True, exist_ok=True)
        for name in executorch_bridge.LIBRARIES:
            shutil.copyfile(built / name, out / each / name)
            made.append(out / each / name)
            ui.line(str(made[-1]))
    return ui.Result({"files": made}, brief=str(out))


def check(
    apk: Annotated[Path, typer.Argument(metavar="APK", help="An APK of this app")],
) -> ui.Result:
    """Check an APK without starting it.

    The exit code is 3 where a check fails.
    """
    _require_sources()
    existing(apk, "APK")
    ui.prepare()
    return _check(apk)


def _check(apk: Path) -> ui.Result:
    from android_demo.tools import apk_build, apk_check

    checks = apk_check.check(apk)
    failed = [each for each in checks if each.faults]
    parts = apk_build.parts(apk)
    ui.line(f"{apk}: {megabytes(apk.stat().st_size)}")
    ui.table(
        [ui.Column("part"), ui.Column("MB", right=True)],
        [(part, f"{size / 1e6:.2f}") for part, size in parts.items()],
    )
    ui.blank()
    for each in failed:
        ui.bullet("bad", f"{each.name}: {each.found}")
        for fault in each.faults:
            ui.line(f"      {fault}")
    for each in checks:
        if not each.faults:
            ui.bullet("good", f"{each.name}: {each.found}")
    if not failed:
        ui.verdict(True, f"All {len(checks)} checks pass.")
    data = {
        "path": apk,
        "size_bytes": apk.stat().st_size,
        "parts_bytes": parts,
        "checks": [
            {"name": c.name, "found": c.found, "faults": list(c.faults), "passed": not c.faults}
            for c in checks
        ],
    }
    if not failed:
        return ui.Result(data)
    return ui.Result(
        data,
        failed=CheckFailed(
            f"{len(failed)} of {len(checks)} checks fail: do not give this APK to anyone",
            "hydra-mobile app build",
            where=str(apk),
            found=", ".join(each.name for each in failed),
        ),
    )


def run_tests(
    screens: Annotated[
        bool, typer.Option("--screens", help="Test the screens instead, on Android's own framework")
    ] = False,
    slow: Annotated[
        bool, typer.Option("--slow", help="With --screens: the slow tests instead")
    ] = False,
) -> ui.Result:
    """Test the app's code in this machine's JVM; minutes.

    It is compared with what Python computes now.
    """
    _require_sources()
    ui.title("Testing the app's code")
    ui.prepare()
    if screens:
        return _test_screens(slow)
    from android_demo.tools import jvm, vectors
    from android_demo.tools.desktop import benchmark
    from android_demo.tools.desktop import libraries as native_libraries
    from android_demo.tools.vector_bundle import write_bundle
    from hydra_mobile.core.temporary import working_folder

    if reason := jvm.missing():
        raise HydraError(f"The app's tests cannot run here: {reason}", kind="missing")
    with working_folder("app-test") as folder:
        ui.say("writing vectors and a small bundle")
        vectors.write_vectors(folder / "vectors", bases=("tiny",))
        onnx = {"hydra.bundle": str(write_bundle(folder / "onnx"))}
        executorch = {"hydra.bundle": str(write_bundle(folder / "et", runtime="executorch"))}
        ui.say("core: compiling and testing")
        vectored = {**onnx, "hydra.vectors": str(folder / "vectors")}
        jvm.run_jvm_tests("core", properties=vectored)
        ui.line("core: passed")
        if reason := native_libraries.missing():
            ui.line(f"runtime-et, runtime-ort: not tested here: {reason}")
            left_out = dict.fromkeys(("runtime-et", "runtime-ort"), reason)
            return ui.Result({"passed": ["core"], "left_out": left_out})
        app_modules = benchmark.modules()
        native = native_libraries.folder("android")
        used = {
            "runtime-et": ([app_modules.core], executorch),
            "runtime-ort": ([app_modules.core, app_modules.ort_api], onnx),
        }
        for module, (classes, properties) in used.items():
            ui.say(f"{module}: compiling and testing with its Android x86_64 library")
            jvm.run_jvm_tests(
                module,
                classes,
                {**properties, **native_libraries.properties(native)},
                native_libraries.environment(native),
            )
            ui.line(f"{module}: passed")
    return ui.Result({"passed": ["core", *used], "left_out": {}})


def _test_screens(slow: bool) -> ui.Result:
    from android_demo.tools.framework import suite

    ui.say("compiling the app and its tests, then starting Android's framework")
    outcome = suite.run(slow=slow)
    for line in outcome.text.splitlines():
        ui.line(line)
    return ui.Result({"passed": sorted(outcome.tests), "left_out": {}})


def pictures(
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            parser=FolderPlace("pictures of the app"),
            help="Folder that they are written into",
        ),
    ],
) -> ui.Result:
    """Draw every screen in every state.

    In light, dark, with large letters and from right to left, by Android's own framework code.
    """
    _require_sources()
    ui.title("Drawing the app's screens")
    ui.prepare()
    from android_demo.tools.framework import album

    made = album.draw(out, ui.say)
    ui.line(f"{len(made)} pictures: {out}")
    return ui.Result({"files": made}, brief=str(out))


ui.add(app, setup, schema="app-setup")
ui.add(app, build, schema="app-build", brief=True, more="docs/android.md")
ui.add(app, libraries, schema="app-libraries", brief=True)
ui.add(app, check, schema="app-check")
ui.add(app, run_tests, "test", schema="app-test")
ui.add(app, pictures, schema="app-pictures", brief=True)
