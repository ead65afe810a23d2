"""What can be known of an APK without starting it: signature, layout, manifest, classes, libraries.

Each check says what it looked at and what is wrong. That an APK passes does not show that it runs.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from android_demo.tools import (
    apk_build,
    apk_classes,
    apk_libraries,
    apk_model,
    apk_zip,
    executorch_bridge,
    onnxruntime_aar,
    tools,
)
from android_demo.tools.apk_libraries import Library
from android_demo.tools.dex import Dex, read_dex
from hydra_mobile.bundle.manifest import MANIFEST, parse_manifest
from hydra_mobile.core.errors import ArtifactError, HydraError

#: What adb may do and other apps may not: the benchmark mode is open to it alone.
_SHELL_ONLY = "android.permission.DUMP"
_BENCH = f"{apk_build.PACKAGE}.BenchActivity"
#: Components that others may start.
_OPEN = {f"{apk_build.PACKAGE}.MainActivity", ".MainActivity", _BENCH, ".BenchActivity"}
_APPLICATION = {"allowBackup": "false", "extractNativeLibs": "false", "debuggable": "true"}
_MOST_LISTED = 8


@dataclass(frozen=True)
class Check:
    """One check: what was found, and what is wrong; nothing: it passed."""

    name: str
    found: str
    faults: tuple[str, ...] = ()


class _Contents:
    """An APK's file and, read when they are first asked for, its classes and libraries.

    ArtifactError: they are not there, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def dexes(self) -> list[Dex]:
        with zipfile.ZipFile(self.path) as members:
            names = sorted(name for name in members.namelist() if name.endswith(".dex"))
            if not names:
                raise ArtifactError(f"{self.path} has no classes.dex.")
            return [read_dex(members.read(name), f"{self.path}:{name}") for name in names]

    @cached_property
    def abis(self) -> dict[str, list[Library]]:
        """Libraries by ABI."""
        abis: dict[str, list[Library]] = {}
        with zipfile.ZipFile(self.path) as members:
            for name in sorted(members.namelist()):
                if match := re.fullmatch(r"lib/([^/]+)/([^/]+\.so)", name):
                    library = apk_libraries.read_library(members.read(name), match[2], match[1])
                    abis.setdefault(match[1], []).append(library)
        if not abis:
            raise ArtifactError(f"{self.path} has no native libraries.")
        return abis


def check(apk: Path) -> list[Check]:
    """Check an APK; every check is made, whatever the others find.

    Raises:
        HydraError: a tool is missing.
        ArtifactError: the file is missing, or no zip file.
    """
    tools.require()
    if not apk.is_file():
        raise ArtifactError(
            f"{apk} is missing: expected an APK.", "Build one: `hydra-mobile app build`."
        )
    try:
        with zipfile.ZipFile(apk) as members:
            broken = members.testzip()
    except zipfile.BadZipFile as error:
        raise ArtifactError(f"{apk} is no zip file: {error}.", "Build it again.") from error
    checks: list[Callable[[_Contents], Check]] = [
        *(_signature, _layout, _badging, _manifest, _classes, _natives, _libraries, _model),
    ]
    contents = _Contents(apk)
    made = [_checked(each, contents) for each in checks]
    return [Check("zip", "all entries", (f"{broken} is damaged",) if broken else ()), *made]


def _checked(each: Callable[[_Contents], Check], apk: _Contents) -> Check:
    try:
        return each(apk)
    except HydraError as error:
        return Check(each.__name__.lstrip("_"), "not readable", (str(error),))


def _signature(apk: _Contents) -> Check:
    minimum = ["--min-sdk-version", str(apk_build.MIN_SDK)]
    said = tools.run(["apksigner", "verify", "--verbose", *minimum, apk.path])
    schemes = re.findall(r"Verified using (v\d) scheme .*: true", said)
    wanted = {"v2", "v3"} - set(schemes)
    faults = [f"not signed by scheme {scheme}" for scheme in sorted(wanted)]
    return Check("signature", f"schemes {', '.join(schemes)}", tuple(faults))


def _layout(apk: _Contents) -> Check:
    faults = []
    stored = 0
    with zipfile.ZipFile(apk.path) as members:
        infos = members.infolist()
    names = [info.filename for info in infos]
    faults += [f"{name} is there twice" for name in sorted(set(names)) if names.count(name) > 1]
    for info in infos:
        name = info.filename
        if info.compress_type != zipfile.ZIP_STORED:
            if name.endswith((".so", ".arsc")):
                faults.append(f"{name} is compressed: the system maps it from the APK")
            continue
        stored += 1
        alignment = apk_zip.alignment_of(name)
        if offset := apk_zip.data_offset(apk.path, info) % alignment:
            faults.append(f"{name} lies {offset} bytes behind a multiple of {alignment}")
    found = f"{len(infos)} entries, {stored} stored, libraries on pages of {apk_zip.PAGE} bytes"
    return Check("layout", found, tuple(faults))


def _badging(apk: _Contents) -> Check:
    said = tools.run(["aapt2", "dump", "badging", apk.path])
    wanted = {
        "package": f"package: name='{apk_build.PACKAGE}'",
        "oldest Android": f"sdkVersion:'{apk_build.MIN_SDK}'",
        "target": f"targetSdkVersion:'{apk_build.TARGET_SDK}'",
        "launcher": f"launchable-activity: name='{apk_build.PACKAGE}.MainActivity'",
    }
    faults = [f"{what}: `{text}` is not said" for what, text in wanted.items() if text not in said]
    permissions = re.findall(r"^uses-permission\S*: name='([^']+)'", said, re.MULTILINE)
    faults += [f"asks for the permission {name}" for name in permissions]
    levels = f"API {apk_build.MIN_SDK} to {apk_build.TARGET_SDK}"
    asked = f"{len(permissions)} permissions" if permissions else "no permissions"
    return Check("package", f"{apk_build.PACKAGE}, {levels}, {asked}", tuple(faults))


def _manifest(apk: _Contents) -> Check:
    tree = tools.run(["aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", apk.path])
    components = _components(tree)
    faults = []
    for name, attributes in components.items():
        if name not in _OPEN and attributes.get("exported") != "false":
            faults.append(f"{name} is open to other apps")
        if not name.startswith((apk_build.PACKAGE, ".")):
            faults.append(f"{name} is declared, and is not this app's")
    bench = components.get(_BENCH, components.get(".BenchActivity", {}))
    if bench.get("permission") != _SHELL_ONLY:
        faults.append(f"the benchmark mode is not kept for adb by {_SHELL_ONLY}")
    application = _attributes(tree, "application")
    for name, value in _APPLICATION.items():
        if application.get(name) != value:
            faults.append(f"application: {name} is {application.get(name)}, expected {value}")
    found = f"{len(components)} components, backup off, libraries used in place"
    return Check("manifest", found, tuple(faults))


def _components(tree: str) -> dict[str, dict[str, str]]:
    found = {}
    for kind in ("activity", "service", "receiver", "provider"):
        for block in re.split(rf"^ *E: {kind} ", tree, flags=re.MULTILINE)[1:]:
            attributes = _first_attributes(block)
            found[attributes.get("name", "?")] = attributes
    return found


def _attributes(tree: str, element: str) -> dict[str, str]:
    _, _, block = tree.partition(f"E: {element} ")
    return _first_attributes(block)


def _first_attributes(block: str) -> dict[str, str]:
    """Return the attributes of an element, before those of the elements in it."""
    own = re.split(r"^ *E: ", block, maxsplit=1, flags=re.MULTILINE)[0]
    pattern = r"A: \S*?:(\w+)(?:\(0x[0-9a-f]+\))?=(?:\"([^\"]*)\"|(\S+))"
    return {name: quoted or plain for name, quoted, plain in re.findall(pattern, own)}


def _classes(apk: _Contents) -> Check:
    dexes = apk.dexes
    classes, methods = apk_classes.missing_methods(dexes, tools.framework_classes())
    faults = [f"class {name} is nowhere" for name in classes]
    faults += [f"method {name} is nowhere" for name in methods]
    defined = sum(len(dex.definitions) for dex in dexes)
    called = sum(len(dex.methods) for dex in dexes)
    found = f"{defined} classes, {called} methods called, looked up in the APK and in Android 12L"
    return Check("classes", found, _listed(faults))


def _natives(apk: _Contents) -> Check:
    faults = []
    counts = []
    for abi, libraries in apk.abis.items():
        exports = {name for library in libraries for name in library.exports}

        def holds(text: str, libraries: list[Library] = libraries) -> bool:
            return any(text.encode() in library.data for library in libraries)

        natives = apk_classes.native_methods(apk.dexes, exports, holds)
        counts.append(f"{abi}: {len(natives.exported)} exported, {len(natives.named)} by name only")
        faults += [f"{abi}: no library has {method}" for method in natives.missing]
    return Check("native methods", "; ".join(counts), _listed(faults))


def _libraries(apk: _Contents) -> Check:
    faults = []
    found = []
    for abi, libraries in apk.abis.items():
        faults += apk_libraries.faults(libraries)
        needed = {name for library in libraries for name in library.needed}
        found.append(f"{abi}: {len(libraries)}, needing {len(needed)}")
    return Check("libraries", "; ".join(found), _listed(faults))


def _model(apk: _Contents) -> Check:
    """Compare the hashes of a model that is in the APK, and whether the APK can run it."""
    with zipfile.ZipFile(apk.path) as members:
        names = [n for n in members.namelist() if n.startswith(f"{apk_model.ASSETS}/")]
        folders = {name.split("/")[2] for name in names}
        if not folders:
            return Check("model", "none")
        if len(folders) > 1:
            return Check("model", "several", (f"{len(folders)} models: the app looks for one",))
        folder = f"{apk_model.ASSETS}/{folders.pop()}"
        if f"{folder}/{MANIFEST}" not in names:
            return Check("model", "no manifest", (f"{folder}/{MANIFEST} is missing",))
        try:
            manifest = parse_manifest(members.read(f"{folder}/{MANIFEST}"), Path(folder) / MANIFEST)
        except ArtifactError as error:
            return Check("model", "a damaged manifest", (error.what,))
        faults = []
        for name, entry in manifest["files"].items():
            if f"{folder}/{name}" not in names:
                faults.append(f"{folder}/{name} is missing")
                continue
            digest = hashlib.sha256()
            with members.open(f"{folder}/{name}") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
            if digest.hexdigest() != entry["sha256"]:
                faults.append(f"{folder}/{name} is not the file of its manifest")
    runtime = manifest["runtime"]
    library = {"executorch": executorch_bridge.BRIDGE, "onnx": onnxruntime_aar.LIBRARIES[0]}
    for abi, libraries in apk.abis.items():
        if library.get(runtime) not in {each.name for each in libraries}:
            faults.append(f"{abi}: nothing runs the model, which is for {runtime}")
    title = folder.rpartition("/")[2]
    return Check("model", f"{title} for {runtime}, all hashes compared", _listed(faults))


def _listed(faults: list[str]) -> tuple[str, ...]:
    if len(faults) <= _MOST_LISTED:
        return tuple(faults)
    return (*faults[:_MOST_LISTED], f"and {len(faults) - _MOST_LISTED} more")
