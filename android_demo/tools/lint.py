"""What Android's own lint and Gradle would say of the app, as far as its files alone tell it.

    python -m android_demo.tools.lint          # what `make lint` runs; exit code 1 on findings

Gradle and Android's lint need Google's servers, which this build does without. A rule is a function
of the folder `android_demo` that yields its findings as "file: what is wrong"; add it to `RULES`.
"""

from __future__ import annotations

import re
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

from android_demo.tools import apk_build, kotlin, onnxruntime_aar
from hydra_mobile import __version__

Findings = Iterator[str]
Rule = Callable[[Path], Findings]

_ANDROID = "{http://schemas.android.com/apk/res/android}"
#: Runtime -> the module of the app that runs it.
_MODULES = {"executorch": ":runtime-et", "onnx": ":runtime-ort"}
#: Smallest side of what is touched, from Android's accessibility guidelines.
_TOUCH_TARGET = 48


# -- screens --------------------------------------------------------------------------------------


def texts_are_resources(demo: Path) -> Findings:
    """Texts are named in strings.xml, where they can be translated."""
    for file, view in _views(demo):
        for name in ("text", "hint", "contentDescription"):
            value = view.get(f"{_ANDROID}{name}")
            if value is not None and not value.startswith("@string/"):
                yield f"{file}: {view.tag} has {name}={value!r}, expected @string/..."


def text_grows_with_the_font_size(demo: Path) -> Findings:
    """Text sizes are in sp, and no fixed height cuts large text off."""
    for file, view in _views(demo):
        size = view.get(f"{_ANDROID}textSize", "16sp")
        if not size.endswith("sp"):
            yield f"{file}: {view.tag} has textSize={size!r}, expected sp"
        height = view.get(f"{_ANDROID}layout_height")
        if view.tag in ("Button", "EditText", "TextView") and height not in (
            "wrap_content",
            "match_parent",
        ):
            yield f"{file}: {view.tag} has the fixed height {height!r}"


def what_is_touched_is_large_enough(demo: Path) -> Findings:
    """Buttons and fields are at least 48dp high."""
    for file, view in _views(demo):
        height = view.get(f"{_ANDROID}minHeight", "")
        found = re.fullmatch(r"(\d+)dp", height)
        if view.tag in ("Button", "EditText") and (not found or int(found[1]) < _TOUCH_TARGET):
            yield f"{file}: {view.tag} has minHeight={height!r}, expected {_TOUCH_TARGET}dp or more"


def screen_readers_have_a_label(demo: Path) -> Findings:
    """Images have a description, and fields a label or a hint."""
    labeled = {
        (file, _id(label))
        for file, view in _views(demo)
        if (label := view.get(f"{_ANDROID}labelFor"))
    }
    for file, view in _views(demo):
        name = _id(view.get(f"{_ANDROID}id", ""))
        if view.tag in ("ImageView", "ImageButton") and not view.get(
            f"{_ANDROID}contentDescription"
        ):
            yield f"{file}: {view.tag} {name!r} lacks a contentDescription"
        if (
            view.tag == "EditText"
            and (file, name) not in labeled
            and not view.get(f"{_ANDROID}hint")
        ):
            yield f"{file}: EditText {name!r} has neither a label nor a hint"


def colors_are_the_themes(demo: Path) -> Findings:
    """Colors are attributes of the theme, so that the dark theme changes them."""
    for file, view in _views(demo):
        for name, value in view.attrib.items():
            if ("olor" in name or name.endswith("background")) and not value.startswith("?"):
                yield f"{file}: {view.tag} has {_id(name)}={value!r}, expected ?attr"


def themes_come_in_light_and_dark(demo: Path) -> Findings:
    """Every theme of the system's that is light by day has a dark form of the same name."""
    parents = {}
    for folder in ("values", "values-night"):
        file = _main(demo) / "res" / folder / "styles.xml"
        root = ElementTree.parse(file).getroot()
        parents[folder] = {str(s.get("name")): str(s.get("parent", "")) for s in root}
    for name, parent in parents["values"].items():
        at_night = parents["values-night"].get(name, parent)
        if "Material.Light" in parent and "Light" in at_night:
            yield f"styles.xml: theme {name!r} stays light at night"


def every_text_is_used(demo: Path) -> Findings:
    """Texts are used, and are given as many values as they have places."""
    sources = _sources(demo)
    everywhere = sources + "".join(file.read_text() for file in _main(demo).rglob("*.xml"))
    root = ElementTree.parse(_main(demo) / "res" / "values" / "strings.xml").getroot()
    for name, text in ((str(string.get("name")), str(string.text)) for string in root):
        if not re.search(rf"R\.string\.{name}\b|@string/{name}\b", everywhere):
            yield f"strings.xml: {name!r} is not used"
        places = len(set(re.findall(r"%(\d)\$", text)))
        call = rf"getString\(R\.string\.{name}((?:, [^,()]+(?:\([^()]*\))?[^,()]*)*)\)"
        for given in re.findall(call, sources):
            count = len([part for part in given.split(", ") if part])
            if count != places:
                yield f"strings.xml: {name!r} has {places} places and is given {count}"


def every_screen_is_declared(demo: Path) -> Findings:
    """The manifest declares the activities that there are."""
    manifest = ElementTree.parse(_main(demo) / "AndroidManifest.xml").getroot()
    declared = {str(item.get(f"{_ANDROID}name")) for item in manifest.iter("activity")}
    written = re.findall(r"^class (\w+) :\s+Activity\(\)", _sources(demo), re.MULTILINE)
    for name in sorted(declared ^ {f".{name}" for name in written}):
        yield f"AndroidManifest.xml: activity {name!r} is declared or written, but not both"


# -- Gradle ---------------------------------------------------------------------------------------


def gradle_builds_the_same_app(demo: Path) -> Findings:
    """Gradle's files agree with the build that does without Gradle."""
    versions = _catalog(demo)["versions"]
    for name, expected in (("kotlin", kotlin.VERSION), ("onnxruntime", onnxruntime_aar.VERSION)):
        if versions[name] != expected:
            yield f"libs.versions.toml: {name} is {versions[name]!r}, expected {expected!r}"
    shown = demo / "runtime-ort/src/main/kotlin/org/hydramobile/runtime/ort/OrtRuntime.kt"
    if f'VERSION = "{onnxruntime_aar.VERSION}"' not in shown.read_text():
        yield f"{shown.name}: VERSION is not {onnxruntime_aar.VERSION!r}"
    file = demo / "app" / "build.gradle.kts"
    build = file.read_text()
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
        if line not in build:
            yield f"app/build.gradle.kts: lacks `{line}`"
    yield from _flavors(demo, build)


def _flavors(demo: Path, build: str) -> Findings:
    """Flavors are those of the build without Gradle, each with its folder and its runtimes."""
    flavors = set(re.findall(r'create\("(\w+)"\)', build))
    folders = {path.name for path in (demo / "app" / "src").iterdir()} - {"main", "test"}
    for name in sorted((flavors ^ folders) | (flavors ^ set(apk_build.FLAVORS.values()))):
        yield f"app/build.gradle.kts: flavor {name!r} is not both built and in a folder of its name"
    for runtimes, flavor in apk_build.FLAVORS.items():
        used = set(re.findall(rf'"{flavor}Implementation"\(project\("(\S+)"\)\)', build))
        expected = {_MODULES[runtime] for runtime in runtimes}
        if used != expected:
            yield f"app/build.gradle.kts: {flavor!r} uses {used}, expected {expected}"


def every_module_is_included(demo: Path) -> Findings:
    """Modules are in settings.gradle.kts, for one JVM, and hand test properties on."""
    included = set(re.findall(r'":([\w-]+)"', (demo / "settings.gradle.kts").read_text()))
    modules = {path.parent.name for path in demo.glob("*/build.gradle.kts")}
    for name in sorted(included ^ modules):
        yield f"settings.gradle.kts: module {name!r} is included or exists, but not both"
    target = f"jvmTarget = JvmTarget.JVM_{kotlin.TARGET.replace('.', '_')}"
    for module in sorted(included & modules):
        build = (demo / module / "build.gradle.kts").read_text()
        if target not in build:
            yield f"{module}/build.gradle.kts: lacks `{target}`"
        # Of the app, whose calls newer systems advise against, warnings stay warnings.
        if ("allWarningsAsErrors = true" in build) != (module != "app"):
            yield f"{module}/build.gradle.kts: allWarningsAsErrors belongs to all but the app"
        tests = "".join(file.read_text() for file in (demo / module / "src/test").rglob("*.kt"))
        for name in sorted(set(re.findall(r'getProperty\("(hydra\.\w+)"\)', tests))):
            if f'"{name}"' not in build:
                yield f"{module}/build.gradle.kts: does not hand {name!r} on to the tests"


def the_catalog_has_what_is_named(demo: Path) -> Findings:
    """Libraries and plugins of libs.versions.toml are used, and those used are in it."""
    catalog = _catalog(demo)
    named = {
        name
        for file in demo.rglob("*.gradle.kts")
        for name in re.findall(r"\blibs\.([\w.]+)\)", file.read_text())
    }
    libraries = {name.replace("-", ".") for name in catalog["libraries"]}
    plugins = {f"plugins.{name.replace('-', '.')}" for name in catalog["plugins"]}
    for name in sorted(named ^ (libraries | plugins)):
        yield f"libs.versions.toml: {name!r} is named or in the catalog, but not both"
    for name, entry in (*catalog["libraries"].items(), *catalog["plugins"].items()):
        version = entry["version"]["ref"] if isinstance(entry, dict) else entry
        if version not in catalog["versions"]:
            yield f"libs.versions.toml: {name!r} has the unknown version {version!r}"


RULES: tuple[Rule, ...] = (
    texts_are_resources,
    text_grows_with_the_font_size,
    what_is_touched_is_large_enough,
    screen_readers_have_a_label,
    colors_are_the_themes,
    themes_come_in_light_and_dark,
    every_text_is_used,
    every_screen_is_declared,
    gradle_builds_the_same_app,
    every_module_is_included,
    the_catalog_has_what_is_named,
)


def findings(demo: Path) -> list[str]:
    """Return what every rule finds in a folder `android_demo`."""
    return [finding for rule in RULES for finding in rule(demo)]


def _main(demo: Path) -> Path:
    return demo / "app" / "src" / "main"


def _sources(demo: Path) -> str:
    return "".join(file.read_text() for file in sorted((_main(demo) / "kotlin").rglob("*.kt")))


def _views(demo: Path) -> Iterator[tuple[str, ElementTree.Element]]:
    """Yield every view of every layout with the name of its file."""
    for file in sorted((_main(demo) / "res" / "layout").glob("*.xml")):
        for view in ElementTree.parse(file).getroot().iter():
            yield file.name, view


def _id(reference: str) -> str:
    """Return the name in "@+id/name" or "{namespace}name"."""
    return re.split(r"[/}]", reference)[-1]


def _catalog(demo: Path) -> dict[str, dict[str, object]]:
    return tomllib.loads((demo / "gradle" / "libs.versions.toml").read_text())


if __name__ == "__main__":
    found = findings(Path(__file__).parents[1])
    for line in found:
        print(f"android_demo: {line}")
    sys.exit(1 if found else 0)
