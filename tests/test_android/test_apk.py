"""The APK as it is built, and APKs with planted faults: each check finds its own."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from android_demo.tools import apk_build, apk_check, apk_zip, executorch_bridge, tools
from android_demo.tools.apk_build import Contents
from android_demo.tools.vector_bundle import write_bundle
from hydra_mobile.core.errors import ArtifactError, HydraError

pytestmark = pytest.mark.slow
Entries = list[tuple[str, bytes]]
GLUE, RUNTIME = "libonnxruntime4j_jni.so", "libonnxruntime.so"
ARM64 = Contents.of(["arm64-v8a"])


@pytest.fixture
def cache(compiler_cache: Path) -> Path:
    """The user's own cache with all tools in it."""
    if not (compiler_cache / "wheels" / tools.WHEEL).is_file():
        pytest.skip(f"{tools.WHEEL} is not in the cache: run `hydra-mobile app setup` once")
    try:
        tools.require()
    except HydraError as error:
        pytest.skip(str(error))
    return compiler_cache


@pytest.fixture
def built(cache: Path, tmp_path: Path) -> Path:
    # One ABI: what is planted in it is found as well, in half the time.
    return apk_build.build(lambda text: None, ARM64, tmp_path / "built.apk")


@pytest.fixture
def planted(built: Path, tmp_path: Path) -> Callable[..., dict[str, tuple[str, ...]]]:
    """Change the entries of the APK, sign it, and return the faults by check."""

    def change(
        entries: Callable[[Entries], Iterable[tuple[str, bytes]]], signed: bool = True
    ) -> dict[str, tuple[str, ...]]:
        with zipfile.ZipFile(built) as apk:
            names = [name for name in apk.namelist() if not name.startswith("META-INF/")]
            changed = list(entries([(name, apk.read(name)) for name in names]))
        unsigned, out = tmp_path / "unsigned.apk", tmp_path / "planted.apk"
        apk_zip.write_apk(unsigned, changed)
        if signed:
            apk_build.sign(unsigned, out)
        else:
            unsigned.replace(out)
        return {each.name: each.faults for each in apk_check.check(out) if each.faults}

    return change


def _without(*names: str) -> Callable[[Entries], Entries]:
    return lambda entries: [(n, d) for n, d in entries if Path(n).name not in names]


def _with(name: str, data: bytes) -> Callable[[Entries], Entries]:
    return lambda entries: [(n, data if n == name else d) for n, d in entries]


def test_the_app_as_it_is_passes(built: Path) -> None:
    checks = apk_check.check(built)
    assert [each for each in checks if each.faults] == []
    found = {each.name: each.found for each in checks}
    assert "no permissions" in found["package"]
    assert "0 by name only" in found["native methods"]
    parts = apk_build.parts(built)
    assert sum(parts.values()) == built.stat().st_size
    assert parts[f"arm64-v8a/{RUNTIME}"] > 10_000_000
    assert not any("x86_64" in part for part in parts)
    for library in executorch_bridge.LIBRARIES:
        assert f"arm64-v8a/{library}" in parts
    again = apk_build.build(lambda text: None, ARM64, built.with_name("again.apk"))
    with zipfile.ZipFile(built) as one, zipfile.ZipFile(again) as other:
        assert one.namelist() == other.namelist()
        assert all(one.read(name) == other.read(name) for name in one.namelist())
    left = sorted(path.name for path in built.parent.iterdir() if path.is_file())
    assert left == ["again.apk", "built.apk"]


def test_faults_of_files(built: Path, planted: Callable[..., dict[str, tuple[str, ...]]]) -> None:
    faults = planted(lambda entries: entries, signed=False)
    assert faults.keys() == {"signature"}
    faults = planted(_without(RUNTIME))
    assert any(f"needs {RUNTIME}" in fault for fault in faults["libraries"])
    faults = planted(_without(GLUE))
    assert "ai/onnxruntime/" in faults["native methods"][0]
    library = f"lib/arm64-v8a/{GLUE}"
    other = built.parent
    aar = apk_build.onnxruntime_aar.unpacked() / "jni" / "x86_64" / GLUE
    faults = planted(_with(library, aar.read_bytes()))
    assert faults["libraries"] == (f"{library} is for another processor",)
    with zipfile.ZipFile(built) as apk:
        dex = bytearray(apk.read("classes.dex"))
    dex[5000] ^= 1
    faults = planted(_with("classes.dex", bytes(dex)))
    assert "checksum" in faults["classes"][0]
    # Moved by one byte behind the signature: neither aligned nor signed any more.
    moved = other / "moved.apk"
    with zipfile.ZipFile(built) as apk, zipfile.ZipFile(moved, "w") as out:
        out.writestr("a", b"1")
        for name in apk.namelist():
            kind = zipfile.ZIP_DEFLATED if name.endswith(".arsc") else zipfile.ZIP_STORED
            out.writestr(zipfile.ZipInfo(name), apk.read(name), kind)
    found = {each.name: each.faults for each in apk_check.check(moved) if each.faults}
    assert found.keys() == {"signature", "layout"}
    assert any(f"{library} lies" in fault for fault in found["layout"])
    assert any("resources.arsc is compressed" in fault for fault in found["layout"])


def test_a_class_that_was_left_out(
    cache: Path, tmp_path: Path, planted: Callable[..., dict[str, tuple[str, ...]]]
) -> None:
    classes = apk_build.classes("both")[0]
    jar = tmp_path / "app.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        for file in sorted(classes.rglob("*.class")):
            archive.write(file, file.relative_to(classes))
    (tmp_path / "dex").mkdir()
    library = ["--lib", tools.android_jar(), "--min-api", "26"]
    tools.d8([*library, "--output", tmp_path / "dex", jar])
    faults = planted(_with("classes.dex", (tmp_path / "dex" / "classes.dex").read_bytes()))
    assert any("class kotlin/" in fault for fault in faults["classes"])
    assert any("and " in fault and " more" in fault for fault in faults["classes"])


@pytest.mark.parametrize(
    ("old", "new", "check", "fault"),
    [
        (
            "<application",
            '<uses-permission android:name="android.permission.INTERNET" /><application',
            "package",
            "asks for the permission android.permission.INTERNET",
        ),
        (
            "</application>",
            '<provider android:name="ai.onnxruntime.TelemetryInitializer" android:exported="false" '
            'android:authorities="x" /></application>',
            "manifest",
            "ai.onnxruntime.TelemetryInitializer is declared, and is not this app's",
        ),
        (
            'android:permission="android.permission.DUMP"',
            "",
            "manifest",
            "the benchmark mode is not kept for adb",
        ),
        ('android:allowBackup="false"', "", "manifest", "allowBackup is None, expected false"),
        (
            'android:name=".ModelsActivity" android:exported="false"',
            'android:name=".ModelsActivity" android:exported="true"',
            "manifest",
            ".ModelsActivity is open to other apps",
        ),
        (
            'package="org.hydramobile.demo"',
            'package="org.hydramobile.other"',
            "package",
            "package: name='org.hydramobile.demo'",
        ),
    ],
)
def test_faults_of_the_manifest(
    old: str,
    new: str,
    check: str,
    fault: str,
    tmp_path: Path,
    planted: Callable[..., dict[str, tuple[str, ...]]],
) -> None:
    text = apk_build.manifest_text()
    assert text.count(old) == 1, text
    # Not through the build, which would keep what is planted in the user's cache.
    apk_build.link_resources(text.replace(old, new), tmp_path)
    with zipfile.ZipFile(tmp_path / "base.apk") as base:
        manifest = base.read("AndroidManifest.xml")
    faults = planted(_with("AndroidManifest.xml", manifest))
    assert any(fault in each for each in faults[check]), faults


@pytest.mark.parametrize("runtime", apk_build.RUNTIMES)
def test_an_app_with_one_runtime(runtime: str, cache: Path, tmp_path: Path) -> None:
    contents = Contents.of(["x86_64"], [runtime])
    apk = apk_build.build(lambda text: None, contents, tmp_path / "one.apk")
    assert [each for each in apk_check.check(apk) if each.faults] == []
    libraries = {Path(name).name for name in zipfile.ZipFile(apk).namelist() if "lib/" in name}
    assert (GLUE in libraries) == (runtime == "onnx")
    assert (executorch_bridge.BRIDGE in libraries) == (runtime == "executorch")


def test_an_app_with_a_model_in_it(cache: Path, tiny_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    bundle = write_bundle(tmp_path / "my model")
    contents = Contents.of(["x86_64"], ["onnx"], bundle)
    said: list[str] = []
    apk = apk_build.build(said.append, contents, tmp_path / "with.apk")
    assert [each for each in apk_check.check(apk) if each.faults] == []
    assert any("of the phone's storage" in line for line in said)
    with zipfile.ZipFile(apk) as members:
        folder = "assets/models/my_model"
        for file in (file for file in bundle.rglob("*") if file.is_file()):
            name = file.relative_to(bundle).as_posix()
            if name == "README.md":
                continue
            info = members.getinfo(f"{folder}/{name}")
            assert members.read(info) == file.read_bytes()
            assert info.compress_type == zipfile.ZIP_STORED
        assert b"ExecuTorch" in members.read("assets/notices.txt")
        names = [name for name in members.namelist() if not name.startswith("META-INF/")]
        entries = [(name, members.read(name)) for name in names]
    graph = next(name for name in names if name.endswith("/tokenizer.json"))
    for change, fault in (
        (lambda n, d: [(n, d[:-1] + b" ")] if n == graph else [(n, d)], "is not the file"),
        (lambda n, d: [] if n == graph else [(n, d)], "is missing"),
        (lambda n, d: [] if n.endswith(RUNTIME) else [(n, d)], "nothing runs the model"),
    ):
        apk_zip.write_apk(tmp_path / "u.apk", [e for n, d in entries for e in change(n, d)])
        apk_build.sign(tmp_path / "u.apk", tmp_path / "planted.apk")
        found = {each.name: each.faults for each in apk_check.check(tmp_path / "planted.apk")}
        assert any(fault in each for each in found["model"]), fault
    with pytest.raises(HydraError, match=r"onnx.*executorch"):
        apk_build.build(said.append, Contents.of([], ["executorch"], bundle))


def test_faults_of_the_bridge(
    built: Path, planted: Callable[..., dict[str, tuple[str, ...]]]
) -> None:
    fbjni, executorch, bridge = executorch_bridge.LIBRARIES
    faults = planted(_without(bridge))
    assert any("org/hydramobile/runtime/et/Native" in each for each in faults["native methods"])
    faults = planted(_without(executorch))
    assert any(f"{bridge} needs {executorch}" in each for each in faults["libraries"])
    faults = planted(_without(fbjni))
    assert any(f"{executorch} needs {fbjni}" in each for each in faults["libraries"])
    # Under the package's own file name: nothing finds it.
    faults = planted(
        lambda entries: [(n.replace(executorch, "libexecutorch.so"), d) for n, d in entries]
    )
    assert any("libexecutorch.so calls itself" in each for each in faults["libraries"])


def test_the_command_line(cache: Path, built: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hydra_mobile", "app", "check", "--json"]
    done = subprocess.run([*command, built], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    checks = json.loads(done.stdout)["result"]["checks"]
    assert len(checks) == 9
    assert all(each["passed"] for each in checks)
    with zipfile.ZipFile(built, "a") as apk:
        apk.writestr("late", b"1", zipfile.ZIP_DEFLATED)
    done = subprocess.run([*command, built], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    checks = json.loads(done.stdout)["result"]["checks"]
    assert [each["name"] for each in checks if not each["passed"]] == ["signature"]
    assert "signature" in done.stderr
    with pytest.raises(ArtifactError, match=r"missing.*APK"):
        apk_check.check(tmp_path / "none.apk")
    (tmp_path / "text.apk").write_text("no zip")
    with pytest.raises(ArtifactError, match="zip"):
        apk_check.check(tmp_path / "text.apk")
