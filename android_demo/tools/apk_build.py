"""Builds and signs the demo app's debug APK, without Gradle and without Google's SDK.

Every step keeps what it made in the cache until its sources change. The app is one of the flavors
of `android_demo/app`: with both runtimes, or with one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_demo.tools import apk_model, apk_zip, executorch_bridge, kotlin, onnxruntime_aar, tools
from android_demo.tools.kotlin import APP
from hydra_mobile import __version__
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import cache_home, require_free_space, write_atomically
from hydra_mobile.core.made_once import made_once
from hydra_mobile.core.own_files import APP as APK
from hydra_mobile.core.own_files import own_file_atomically, require_replaceable_file
from hydra_mobile.core.temporary import scratch, working_folder

PACKAGE = "org.hydramobile.demo"
#: Flavors by the runtimes in them; the folder `android_demo/app/src/<flavor>` names these.
FLAVORS = {
    ("executorch", "onnx"): "both",
    ("executorch",): "executorch",
    ("onnx",): "onnx",
}
RUNTIMES = ("executorch", "onnx")
MIN_SDK, TARGET_SDK = 26, 34
ABIS = ("arm64-v8a", "x86_64")
#: Uncompressed classes and what is unpacked of the tools.
_NEEDED_BYTES = 300_000_000
_ANDROID = "http://schemas.android.com/apk/res/android"
_TOOLS = "http://schemas.android.com/tools"
_MAIN = APP / "app" / "src" / "main"
_Say = Callable[[str], None]


@dataclass(frozen=True)
class Contents:
    """What an APK is to hold.

    Attributes:
        abis: of `ABIS`.
        runtimes: of `RUNTIMES`.
        bundle: a model that is installed with the app; None: the app comes without.
    """

    abis: tuple[str, ...] = ABIS
    runtimes: tuple[str, ...] = RUNTIMES
    bundle: Path | None = None

    @classmethod
    def of(
        cls,
        abis: Iterable[str] = (),
        runtimes: Iterable[str] = (),
        bundle: Path | None = None,
    ) -> Contents:
        """Return checked contents in the project's order; empty: all.

        Raises:
            HydraError: an ABI or a runtime is unknown.
        """
        chosen = _chosen(runtimes, RUNTIMES, "--runtimes")
        return cls(_chosen(abis, ABIS, "--abi"), chosen, bundle)

    @property
    def flavor(self) -> str:
        """The app's flavor with these runtimes."""
        return FLAVORS[self.runtimes]

    @property
    def name(self) -> str:
        """The APK's file name without version."""
        parts = [] if self.runtimes == RUNTIMES else [*self.runtimes]
        parts += [] if self.abis == ABIS else [*self.abis]
        parts += [self.bundle.resolve().name] if self.bundle else []
        return "-".join(["hydra-demo", *parts])


def _chosen(given: Iterable[str], known: tuple[str, ...], option: str) -> tuple[str, ...]:
    names = list(given) or list(known)
    if unknown := sorted(set(names) - set(known)):
        raise HydraError(
            f"{option} is {', '.join(unknown)}: expected one or more of {', '.join(known)}.",
            "Leave it out for all of them.",
        )
    return tuple(name for name in known if name in names)


def build(say: _Say, contents: Contents | None = None, out: Path | None = None) -> Path:
    """Build and sign the APK; return its path.

    Args:
        say: told each step before it begins.
        contents: see there; None: everything.
        out: where to write it; without, into the cache.

    Raises:
        HydraError: a tool is missing or failed; the sources do not compile.
        ArtifactError: a pinned package is not what it should be; or `out` is there and is no app
            that was built here.
    """
    contents = contents or Contents()
    if out:
        require_replaceable_file(out, APK)
    if contents.bundle:
        # Before minutes of compiling.
        apk_model.usable(contents.bundle, contents.runtimes)
    tools.require()
    folder = cache_home() / "android"
    say(f"libraries: {', '.join(contents.runtimes)} for {', '.join(contents.abis)}; Kotlin, D8")
    files = _libraries(contents)
    if contents.bundle:
        files |= apk_model.model_entries(contents.bundle, contents.runtimes, files, say)
    # Packed, signed, and one of an earlier build that is replaced.
    size = sum(file.stat().st_size for file in files.values())
    require_free_space(folder, _NEEDED_BYTES + 3 * size, "the APK")
    say("resources")
    base = resources()
    say("Kotlin")
    inputs = classes(contents.flavor)
    say("dex")
    dex = _dex([*inputs, kotlin.standard_library()], tools.android_jar())
    say("packing and signing")
    path = out or folder / "apk" / f"{contents.name}-{__version__}-debug.apk"
    # What lies in the cache is ours, that of earlier versions too.
    with (
        own_file_atomically(path, APK) if out else write_atomically(path) as finished,
        # Tools leave files beside theirs when they are killed, of names that nobody would sweep.
        scratch(folder, "apk") as work,
    ):
        unsigned, signed = work / "unsigned.apk", work / "signed.apk"
        apk_zip.write_apk(unsigned, _entries(base, dex, files))
        sign(unsigned, signed)
        shutil.copyfile(signed, finished)
    return path


def _libraries(contents: Contents) -> dict[str, Path]:
    """Return name in the APK -> file of the native libraries."""
    found: dict[str, Path] = {}
    for abi in contents.abis:
        if "executorch" in contents.runtimes:
            folder = executorch_bridge.libraries(abi)
            found |= {f"lib/{abi}/{n}": folder / n for n in executorch_bridge.LIBRARIES}
        if "onnx" in contents.runtimes:
            folder = onnxruntime_aar.unpacked() / "jni" / abi
            found |= {f"lib/{abi}/{n}": folder / n for n in onnxruntime_aar.LIBRARIES}
    return found


def parts(apk: Path) -> dict[str, int]:
    """Return the bytes that an APK spends on what, as they are in the file."""
    sizes: dict[str, int] = {}
    with zipfile.ZipFile(apk) as members:
        for info in members.infolist():
            name = info.filename
            if name.endswith(".dex"):
                kind = "classes"
            elif name.startswith("lib/"):
                kind = name.removeprefix("lib/")
            elif name.startswith(apk_model.ASSETS):
                kind = "model"
            else:
                kind = "resources and manifest"
            sizes[kind] = sizes.get(kind, 0) + info.compress_size
    rest = apk.stat().st_size - sum(sizes.values())
    return {**dict(sorted(sizes.items())), "alignment, directory and signature": rest}


def manifest_text(source: Path = _MAIN / "AndroidManifest.xml") -> str:
    """Return the manifest as Gradle would merge it: package, placeholders, how libraries lie.

    What it says to remove of libraries' manifests is left out: none is merged here.
    """
    ElementTree.register_namespace("android", _ANDROID)
    text = source.read_text(encoding="utf-8").replace("${applicationId}", PACKAGE)
    if left := re.findall(r"\$\{\w+\}", text):
        raise HydraError(f"{source} has the placeholders {left}, and nothing fills them in.")
    root = ElementTree.fromstring(text)
    root.set("package", PACKAGE)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.get(f"{{{_TOOLS}}}node") == "remove":
                parent.remove(child)
    application = root.find("application")
    if application is None:
        raise HydraError(f"{source} has no element `application`.")
    application.set(f"{{{_ANDROID}}}extractNativeLibs", "false")
    return ElementTree.tostring(root, encoding="unicode")


def resources(pseudo: bool = False) -> Path:
    """Return a folder: `base.apk`, `AndroidManifest.xml`, and the app's numbers as `classes`.

    Args:
        pseudo: with the language `en-XA` beside, in which every word wears accents; for tests.
    """
    sources = sorted(_MAIN.rglob("*.xml"))
    stamp = f"{MIN_SDK} {TARGET_SDK} {__version__} {tools.FRAMEWORK_RESOURCES.stat().st_size}"

    def make(out: Path) -> None:
        link_resources(manifest_text(), out, pseudo)
        (out / "classes").mkdir()
        java = sorted((out / "java").rglob("*.java"))
        # Numbers only: any Java's class files would do.
        options = ["-nowarn", "--release", "8", "-Xlint:-options"]
        tools.run(["javac", *options, "-d", out / "classes", *java])

    name = "pseudo-resources" if pseudo else "resources"
    return _kept(name, [*sources, Path(__file__)], stamp, make)


def link_resources(manifest: str, out: Path, pseudo: bool = False) -> None:
    """Write `base.apk`, with a manifest and the app's resources, and their numbers as `java`.

    Args:
        manifest: its text.
        out: the folder.
        pseudo: with aapt2's pseudo-languages beside.
    """
    (out / "AndroidManifest.xml").write_text(manifest, encoding="utf-8")
    languages = ["--pseudo-localize"] if pseudo else []
    tools.run(["aapt2", "compile", *languages, "--dir", _MAIN / "res", "-o", out / "res.zip"])
    tools.run(
        [
            *("aapt2", "link", "-I", tools.FRAMEWORK_RESOURCES),
            *("--manifest", out / "AndroidManifest.xml", "--java", out / "java"),
            *("--min-sdk-version", str(MIN_SDK), "--target-sdk-version", str(TARGET_SDK)),
            *("--version-code", version_code(), "--version-name", __version__),
            *("--debug-mode", "--auto-add-overlay"),
            *("-o", out / "base.apk", out / "res.zip"),
        ]
    )


def classes(flavor: str) -> list[Path]:
    """Compile a flavor of the app; return the folders and jars of its classes, the app's first.

    Raises:
        HydraError, ArtifactError: as `build`.
    """
    runtimes = next(names for names, found in FLAVORS.items() if found == flavor)
    core = kotlin.compile_kotlin("core", [_sources("core")])
    modules: list[Path] = []
    java_api: list[Path] = []
    if "executorch" in runtimes:
        modules.append(kotlin.compile_kotlin("runtime-et", [_sources("runtime-et")], [core]))
    if "onnx" in runtimes:
        java_api = [onnxruntime_aar.unpacked() / "classes.jar"]
        sources, used = [_sources("runtime-ort")], [core, *java_api]
        modules.append(kotlin.compile_kotlin("runtime-ort", sources, used))
    numbers = resources() / "classes"
    app = kotlin.compile_kotlin(
        f"app-{flavor}",
        [_sources("app"), _sources("app", flavor)],
        [core, *modules, numbers],
        platform=tools.android_jar(),
    )
    return [app, core, *modules, numbers, *java_api]


def _sources(module: str, flavor: str = "main") -> Path:
    return APP / module / "src" / flavor / "kotlin"


def _dex(inputs: Sequence[Path], platform: Path) -> Path:
    """Return a folder with `classes.dex` and whatever did not fit into it."""
    stamp = " ".join(map(str, [*inputs, platform, MIN_SDK, tools.WHEEL_SHA256]))

    def make(out: Path) -> None:
        options = ["--min-api", str(MIN_SDK), "--debug", "--lib", str(platform)]
        with working_folder("dex") as work:
            jars = []
            for number, path in enumerate(inputs):
                jar = work / f"{number}.jar" if path.is_dir() else path
                if path.is_dir():
                    _pack(path, jar)
                jars.append(jar)
            tools.d8([*options, "--output", out, *jars])

    return _kept("dex", [], stamp, make)


def _entries(
    resources: Path, dex: Path, files: Mapping[str, Path]
) -> Iterator[tuple[str, bytes | Path]]:
    with zipfile.ZipFile(resources / "base.apk") as base:
        for name in sorted(base.namelist()):
            yield name, base.read(name)
    for file in sorted(dex.glob("*.dex")):
        yield file.name, file
    for file in sorted((_MAIN / "assets").iterdir()):
        yield f"assets/{file.name}", file
    yield "assets/license.txt", APP.parent / "LICENSE"
    yield from files.items()


def sign(unsigned: Path, signed: Path) -> None:
    """Sign an aligned APK with this machine's debug key; its alignment is kept."""
    store = _keystore()
    passwords = ["--ks-pass", "pass:android", "--key-pass", "pass:android"]
    minimum = ["--min-sdk-version", str(MIN_SDK)]
    # Its own file of the fourth scheme is for incremental installs, which nobody does with this.
    schemes = ["--v4-signing-enabled", "false"]
    command = ["apksigner", "sign", "--ks", str(store), *passwords, *minimum, *schemes]
    tools.run([*command, "--out", signed, unsigned])


def _keystore() -> Path:
    """Return this machine's debug key, made at first use: the same key lets an update install."""

    def make(out: Path) -> None:
        tools.run(
            [
                *("keytool", "-genkeypair", "-keystore", out / "debug.keystore"),
                *("-storetype", "PKCS12", "-storepass", "android", "-keypass", "android"),
                *("-alias", "debug", "-keyalg", "RSA", "-keysize", "2048", "-validity", "10000"),
                *("-dname", "CN=Android Debug,O=Android,C=US"),
            ]
        )

    return made_once("debug-key", make) / "debug.keystore"


def _kept(name: str, sources: Sequence[Path], stamp: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` has filled, anew when a source or the stamp has changed."""
    digest = hashlib.sha256(stamp.encode())
    for source in sources:
        digest.update(f"\0{source.relative_to(APP.parent)}\0".encode() + source.read_bytes())
    return made_once(f"{name}-{digest.hexdigest()[:12]}", make)


def _pack(folder: Path, jar: Path) -> None:
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*.class")):
            archive.write(file, file.relative_to(folder))


def version_code() -> str:
    """Return a number that grows with the version, as Android wants for updates."""
    major, minor, patch = (int(part) for part in re.findall(r"\d+", __version__)[:3])
    return str(10000 * major + 100 * minor + patch + 1)
