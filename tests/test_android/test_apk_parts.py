"""The parts of the APK build and check, on small made-up input; no tool is needed."""

from __future__ import annotations

import hashlib
import re
import struct
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from android_demo.tools import apk_build, apk_classes, apk_libraries, apk_model, apk_zip, tools
from android_demo.tools.apk_libraries import Library
from android_demo.tools.class_set import ClassDeclaration, Method, Type
from android_demo.tools.dex import Definition, Dex, MethodName, read_dex
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.devices import app as app_device

DEMO = Path(apk_build.__file__).parents[1]


def test_stored_files_are_aligned_and_the_same_bytes(tmp_path: Path) -> None:
    entries = [
        ("AndroidManifest.xml", b"x" * 1000),
        ("resources.arsc", bytes(1001)),
        ("lib/arm64-v8a/liba.so", bytes(40_001)),
        ("res/a.png", b"1234567"),
        ("lib/arm64-v8a/libb.so", bytes(5)),
    ]
    apk_zip.write_apk(tmp_path / "a.apk", entries)
    apk_zip.write_apk(tmp_path / "b.apk", entries)
    assert (tmp_path / "a.apk").read_bytes() == (tmp_path / "b.apk").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.apk") as apk:
        assert apk.testzip() is None
        assert [(i.filename, apk.read(i)) for i in apk.infolist()] == entries
        stored = {i.filename: i for i in apk.infolist() if i.compress_type == zipfile.ZIP_STORED}
    assert sorted(stored) == sorted(name for name, _ in entries[1:])
    offsets = {name: apk_zip.data_offset(tmp_path / "a.apk", i) for name, i in stored.items()}
    assert all(offset % apk_zip.alignment_of(name) == 0 for name, offset in offsets.items())
    data = (tmp_path / "a.apk").read_bytes()
    assert data[offsets["res/a.png"] :].startswith(b"1234567")


def _class(name: str, *methods: Method, parents: tuple[str, ...] = ()) -> ClassDeclaration:
    above = tuple(Type(f"L{parent};", f"L{parent};") for parent in parents)
    return ClassDeclaration(name, above, (), methods)


def _method(name: str) -> Method:
    void = Type("V", "V")
    return Method(name, (), void, (), void, (), 1, ())


FRAMEWORK = {
    "java/lang/Object": _class("java/lang/Object", _method("notify")),
    "android/View": _class("android/View", _method("draw"), parents=("java/lang/Object",)),
}


def _dex(*called: tuple[str, str], types: tuple[str, ...] = ()) -> Dex:
    mine = Definition("app/Mine", ("android/View",), (MethodName("app/Mine", "own", "()V"),), ())
    other = Definition("app/Other", ("app/Mine",), (), ())
    methods = tuple(MethodName(owner, name, "()V") for owner, name in called)
    return Dex((mine, other), methods, ("app/Mine", "app/Other", *types))


def test_calls_are_looked_up_in_the_app_and_in_android() -> None:
    found = _dex(
        *(("app/Mine", "own"), ("app/Other", "own"), ("app/Other", "draw"), ("app/Mine", "notify")),
        *(("android/View", "draw"), ("[I", "clone"), ("[Lapp/Mine;", "notify")),
        ("java/lang/invoke/MethodHandle", "invokeExact"),
        types=("android/View", "dalvik/annotation/Throws"),
    )
    assert apk_classes.missing_methods([found], FRAMEWORK) == ([], [])
    lost = _dex(
        ("app/Other", "lost"), ("android/View", "own"), types=("com/gone/Jni", "android/View")
    )
    classes, methods = apk_classes.missing_methods([lost], FRAMEWORK)
    assert classes == ["com/gone/Jni"]
    assert methods == ["android/View.own()V", "app/Other.lost()V"]


def test_jni_names() -> None:
    method = MethodName("ai/on_nx/Ort$Inner", "näive", "(I[Ljava/lang/String;)V")
    short, long = apk_classes.jni_names(method)
    assert short == "Java_ai_on_1nx_Ort_00024Inner_n_000e4ive"
    assert long == f"{short}__I_3Ljava_lang_String_2"


def test_native_methods_by_what_the_libraries_offer() -> None:
    natives = tuple(MethodName("a/B", name, "()V") for name in ("exported", "named", "gone"))
    dex = Dex((Definition("a/B", (), natives, natives),), natives, ("a/B",))
    offered = apk_classes.native_methods(
        [dex], {"Java_a_B_exported", "Java_a_B_other"}, lambda text: text in ("a/B", "named")
    )
    assert [m.name for m in offered.exported] == ["exported"]
    assert [m.name for m in offered.named] == ["named"]
    assert [m.name for m in offered.missing] == ["gone"]


def test_faults_of_libraries() -> None:
    glue = Library(
        "libglue.so",
        "libglue.so",
        "x86_64",
        True,
        16384,
        ("libc.so", "libort.so"),
        frozenset(),
        b"",
    )
    ort = Library("libort.so", "libort.so", "x86_64", True, 16384, ("libm.so",), frozenset(), b"")
    assert apk_libraries.faults([glue, ort]) == []
    assert apk_libraries.faults([glue]) == [
        "lib/x86_64/libglue.so needs libort.so, which is neither packed nor public"
    ]
    old = Library("libort.so", "libort.so", "x86_64", False, 4096, (), frozenset(), b"")
    assert apk_libraries.faults([old]) == [
        "lib/x86_64/libort.so is for another processor",
        "lib/x86_64/libort.so is laid out for pages of 4096 bytes, not 16384",
    ]
    with pytest.raises(ArtifactError, match="library"):
        apk_libraries.read_library(b"PK\3\4", "liba.so", "x86_64")


def test_what_is_no_dex() -> None:
    with pytest.raises(ArtifactError, match="dex"):
        read_dex(b"PK\3\4", "classes.dex")
    body = bytes(0x70 - 32)
    signature = hashlib.sha1(body).digest()
    checksum = struct.pack("<I", zlib.adler32(signature + body))
    empty = b"dex\n038\0" + checksum + signature + body
    assert read_dex(empty, "classes.dex") == Dex((), (), ())
    for at, message in ((60, "checksum"), (9, "checksum"), (20, "checksum")):
        with pytest.raises(ArtifactError, match=message):
            read_dex(empty[:at] + b"\1" + empty[at + 1 :], "classes.dex")


def test_the_manifest_is_merged_as_gradle_would() -> None:
    root = ElementTree.fromstring(apk_build.manifest_text())
    android = "{http://schemas.android.com/apk/res/android}"
    assert root.get("package") == apk_build.PACKAGE
    assert root.findall("uses-permission") == []
    application = root.find("application")
    assert application is not None
    names = [child.get(f"{android}name") for child in application]
    assert "ai.onnxruntime.TelemetryInitializer" not in names
    provider = application.find("provider")
    assert provider is not None
    assert provider.get(f"{android}authorities") == f"{apk_build.PACKAGE}.photo"
    # In the source both are named, so that Gradle takes them out of any library's manifest.
    source = (DEMO / "app/src/main/AndroidManifest.xml").read_text()
    assert len(re.findall(r'tools:node="remove"', source)) == 2


def test_a_placeholder_that_nothing_fills_in(tmp_path: Path) -> None:
    manifest = tmp_path / "AndroidManifest.xml"
    manifest.write_text("<manifest><application name='${key}'/></manifest>")
    with pytest.raises(HydraError, match=r"placeholders \['\$\{key\}'\]"):
        apk_build.manifest_text(manifest)


def test_an_abi_that_is_unknown() -> None:
    with pytest.raises(HydraError, match=r"mips.*arm64-v8a"):
        apk_build.Contents.of(["mips"])


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tools.shutil, "which", lambda program: None)
    monkeypatch.setattr(tools, "FRAMEWORK_RESOURCES", tmp_path / "none.apk")
    with pytest.raises(HydraError, match=r"aapt.*apksigner.*android-framework-res"):
        tools.require()


def test_the_benchmark_mode_is_what_the_harness_starts() -> None:
    assert app_device.PACKAGE == apk_build.PACKAGE
    assert f"{apk_build.PACKAGE}/.BenchActivity" == app_device.ACTIVITY
    source = (DEMO / "app/src/main/kotlin/org/hydramobile/demo/BenchActivity.kt").read_text()
    for name in ("requests", "answers", "bundle"):
        assert f'getStringExtra("{name}")' in source
    assert 'getIntExtra("threads", 0)' in source
    started = Path(app_device.__file__).read_text()
    assert "--ei threads" in started
    assert (
        'File(shared, "models")'
        in (DEMO / "app/src/main/kotlin/org/hydramobile/demo/DemoApplication.kt").read_text()
    )


def test_a_model_that_is_too_large_is_told_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    opened = SimpleNamespace(runtime="onnx", manifest={"files": {}})
    monkeypatch.setattr(apk_model.Bundle, "open", lambda path: opened)
    large = tmp_path / "libonnxruntime.so"
    with large.open("wb") as file:
        file.truncate(apk_model.MOST_BYTES)
    with pytest.raises(HydraError, match=r"4\.\d\d GB.*4\.28"):
        apk_model.model_entries(tmp_path, ["onnx"], {"lib": large}, lambda text: None)
