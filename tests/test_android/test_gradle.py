"""The Gradle files, which cannot be run without Gradle's own servers, say what is built here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from android_demo.tools import apk_build, kotlin, onnxruntime_aar
from hydra_mobile import __version__

DEMO = Path(__file__).parents[2] / "android_demo"


def _catalog() -> dict[str, dict[str, object]]:
    return tomllib.loads((DEMO / "gradle" / "libs.versions.toml").read_text())


def test_versions_are_those_of_the_build_without_gradle() -> None:
    versions = _catalog()["versions"]
    assert versions["kotlin"] == kotlin.VERSION
    assert versions["onnxruntime"] == onnxruntime_aar.VERSION


def test_the_app_is_the_one_that_is_built_without_gradle() -> None:
    build = (DEMO / "app" / "build.gradle.kts").read_text()
    abis = ", ".join(f'"{abi}"' for abi in apk_build.ABIS)
    for line in (
        f'namespace = "{apk_build.PACKAGE}"',
        f'applicationId = "{apk_build.PACKAGE}"',
        f"minSdk = {apk_build.MIN_SDK}",
        f"targetSdk = {apk_build.TARGET_SDK}",
        f"versionCode = {apk_build.version_code()}",
        f'versionName = "{__version__}"',
        f"abiFilters += listOf({abis})",
    ):
        assert line in build, line
    flavors = set(re.findall(r'create\("(\w+)"\)', build))
    assert flavors == set(apk_build.FLAVORS.values())
    assert flavors == {path.name for path in (DEMO / "app" / "src").iterdir()} - {"main"}
    modules = {"executorch": ":runtime-et", "onnx": ":runtime-ort"}
    for runtimes, flavor in apk_build.FLAVORS.items():
        used = set(re.findall(rf'"{flavor}Implementation"\(project\("(\S+)"\)\)', build))
        assert used == {modules[runtime] for runtime in runtimes}
    assert f"minSdk = {apk_build.MIN_SDK}" in (DEMO / "runtime-et/build.gradle.kts").read_text()


def test_every_module_is_included_and_compiles_for_the_same_target() -> None:
    included = re.findall(r'":([\w-]+)"', (DEMO / "settings.gradle.kts").read_text())
    assert sorted(included) == sorted(path.parent.name for path in DEMO.glob("*/build.gradle.kts"))
    assert sorted(included) == sorted(path.parent.name for path in DEMO.glob("*/src"))
    target = f"JVM_{kotlin.TARGET.replace('.', '_')}"
    for module in included:
        build = (DEMO / module / "build.gradle.kts").read_text()
        assert f"jvmTarget = JvmTarget.{target}" in build
        # Of the app, whose calls newer systems advise against, warnings stay warnings.
        assert ("allWarningsAsErrors = true" in build) == (module != "app")
        # A property that a test reads has to be handed on to the tests' own process.
        tests = "".join(file.read_text() for file in (DEMO / module / "src/test").rglob("*.kt"))
        for name in set(re.findall(r'getProperty\("(hydra\.\w+)"\)', tests)):
            assert f'"{name}"' in build, (module, name)


def test_what_the_builds_name_is_in_the_catalog() -> None:
    catalog = _catalog()
    named = {
        name
        for file in DEMO.rglob("*.gradle.kts")
        for name in re.findall(r"\blibs\.([\w.]+)\)", file.read_text())
    }
    assert named
    libraries = {name.replace("-", ".") for name in catalog["libraries"]}
    plugins = {f"plugins.{name.replace('-', '.')}" for name in catalog["plugins"]}
    assert named == libraries | plugins
    for entry in [*catalog["libraries"].values(), *catalog["plugins"].values()]:
        assert isinstance(entry, dict)
        assert entry["version"]["ref"] in catalog["versions"]
