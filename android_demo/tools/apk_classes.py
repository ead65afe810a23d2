"""Whether an APK's classes have what they call: in the APK, in Android, in native libraries.

A missing class or method is an error when the app runs, not when it is built: D8 does not complain.
Looks at names; runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from android_demo.tools.class_set import ClassDeclaration, finds_method
from android_demo.tools.dex import Definition, Dex, MethodName

_OBJECT = "java/lang/Object"
#: Names that the format itself uses for what a compiler notes; no class is loaded for them.
_NOTES = "dalvik/annotation/"
#: The virtual machine accepts these with any types.
_ANY_TYPES = {
    ("java/lang/invoke/MethodHandle", "invoke"),
    ("java/lang/invoke/MethodHandle", "invokeExact"),
}


@dataclass(frozen=True)
class NativeMethods:
    """Native methods by how a library offers them."""

    exported: tuple[MethodName, ...]
    #: Class and method are written in a library, which may register them: weaker than an export.
    named: tuple[MethodName, ...]
    missing: tuple[MethodName, ...]


def missing_methods(
    dexes: Sequence[Dex], framework: Mapping[str, ClassDeclaration]
) -> tuple[list[str], list[str]]:
    """Return classes and methods that are mentioned and neither defined nor Android's, sorted."""
    defined = {d.name: d for dex in dexes for d in dex.definitions}
    classes = {
        name
        for dex in dexes
        for name in dex.types
        if name not in defined and name not in framework and not name.startswith(_NOTES)
    }
    methods = {
        str(method)
        for dex in dexes
        for method in dex.methods
        if not _resolves(method, defined, framework) and method.owner not in classes
    }
    return sorted(classes), sorted(methods)


def native_methods(
    dexes: Iterable[Dex], exports: set[str], holds: Callable[[str], bool]
) -> NativeMethods:
    """Sort the native methods of an APK by what its libraries of one ABI offer.

    Args:
        dexes: its classes.
        exports: names that the libraries export.
        holds: whether a library has a text in it.
    """
    exported, named, missing = [], [], []
    natives = [method for dex in dexes for d in dex.definitions for method in d.natives]
    for method in sorted(natives, key=str):
        if exports & set(jni_names(method)):
            exported.append(method)
        elif holds(method.owner) and holds(method.name):
            named.append(method)
        else:
            missing.append(method)
    return NativeMethods(tuple(exported), tuple(named), tuple(missing))


def jni_names(method: MethodName) -> tuple[str, str]:
    """Return the two names under which the virtual machine looks for a native method.

    The Java Native Interface Specification, "Resolving Native Method Names": short, and with the
    types of the arguments for overloaded ones.
    """
    short = f"Java_{_mangled(method.owner)}_{_mangled(method.name)}"
    arguments = method.descriptor[1 : method.descriptor.index(")")]
    return short, f"{short}__{_mangled(arguments)}"


def _mangled(text: str) -> str:
    special = {"_": "_1", ";": "_2", "[": "_3", "/": "_"}
    return re.sub(r"[^a-zA-Z0-9]", lambda m: special.get(m[0]) or f"_0{ord(m[0]):04x}", text)


def _resolves(
    method: MethodName,
    defined: Mapping[str, Definition],
    framework: Mapping[str, ClassDeclaration],
) -> bool:
    owner = _OBJECT if method.owner.startswith("[") else method.owner
    if (owner, method.name) in _ANY_TYPES:
        return True
    left, seen = [owner], set()
    while left:
        current = left.pop()
        if current in seen:
            continue
        seen.add(current)
        if current in defined:
            own = {(m.name, m.descriptor) for m in defined[current].methods}
            if (method.name, method.descriptor) in own:
                return True
            left += defined[current].parents
        elif finds_method(framework, current, method.name, method.descriptor):
            return True
    # An array has its own `clone`.
    return method.owner.startswith("[") and method.name == "clone"
