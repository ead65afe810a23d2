"""`android.jar` for compilers: what Android declares, without a line of what it does.

Classes and methods are those of `class_set` (API 32). That set has no fields, so the few that the
app uses are written down in `framework_fields.tsv`; a wrong value there would go unnoticed by a
compiler, which is why the app uses few. Which API level brought a method is not known either:
nothing here notices a call that the app's oldest Android lacks.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from android_demo.tools import class_files as form
from android_demo.tools.class_files import Field, class_file
from android_demo.tools.class_set import ClassDeclaration
from hydra_mobile.core.errors import ArtifactError

#: Of Android 12L.
API_LEVEL = 32
FIELDS = Path(__file__).with_name("framework_fields.tsv")
_ENUM, _ANNOTATION = "java/lang/Enum", "java/lang/annotation/Annotation"


def write_framework_jar(out: Path, classes: Mapping[str, ClassDeclaration]) -> None:
    """Write the jar to `out`, the same bytes each time.

    Raises:
        ArtifactError: a field is written down for a class that there is not.
    """
    fields = read_fields()
    if strange := sorted(fields.keys() - classes.keys()):
        raise ArtifactError(f"{FIELDS} has fields of {', '.join(strange)}: Android has none such.")
    flags = {name: _flags(declared) for name, declared in classes.items()}
    members: dict[str, list[str]] = {}
    for name in classes:
        outer, mark, simple = name.rpartition("$")
        if mark and outer in classes and not simple.isdigit():
            members.setdefault(outer, []).append(name)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as jar:
        for name, declared in sorted(classes.items()):
            mentioned = {*_chain(name, classes), *members.get(name, [])}
            for other in _mentioned(declared):
                mentioned.update(_chain(other, classes))
            inner = {member: flags[member] | form.STATIC for member in sorted(mentioned)}
            data = class_file(declared, inner, flags[name], fields.get(name, ()))
            jar.writestr(zipfile.ZipInfo(f"{name}.class"), data)


def read_fields(path: Path = FIELDS) -> dict[str, list[Field]]:
    """Read the fields by class: class, name, descriptor and value, or nothing, by tabs.

    A field without a value is one of the system's to fill in. `=` marks an enum's constant, `.` a
    field of each object.
    """
    fields: dict[str, list[Field]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        owner, name, descriptor, value = line.split("\t")
        flags = form.PUBLIC | {".": 0, "=": form.STATIC | form.FINAL | form.ENUM}.get(
            value, form.STATIC | form.FINAL
        )
        constant: int | str | None = None
        if value not in ("", ".", "="):
            constant = int(value, 0) if descriptor in "IZ" else value
        fields.setdefault(owner, []).append(Field(name, descriptor, flags, constant))
    return fields


#: Methods of `Object` that no interface can have code for.
_OF_OBJECTS = ("equals", "hashCode", "toString")


def _flags(declared: ClassDeclaration) -> int:
    """Guess a class's flags, which the set does not have, from what it declares."""
    abstract = any(method.flags & form.ABSTRACT for method in declared.methods)
    above = declared.parents[0].descriptor[1:-1] if declared.parents else ""
    constructed = any(method.name == "<init>" for method in declared.methods)
    coded = any(m.name in _OF_OBJECTS and not m.flags & form.ABSTRACT for m in declared.methods)
    # Classes that nobody may construct have no constructor either, but they have code. Taken for an
    # interface, one would end the app on a phone.
    bare = above == "java/lang/Object" and not constructed and not coded
    if bare and (abstract or not declared.methods):
        annotation = any(parent.descriptor == f"L{_ANNOTATION};" for parent in declared.parents)
        return form.PUBLIC | form.INTERFACE | form.ABSTRACT | (annotation and form.ANNOTATION)
    return form.PUBLIC | (abstract and form.ABSTRACT) | (above == _ENUM and form.ENUM)


def _chain(name: str, classes: Mapping[str, ClassDeclaration]) -> list[str]:
    """Return a member class and those it is in."""
    chain = []
    while "$" in name:
        outer, _, simple = name.rpartition("$")
        if name not in classes or outer not in classes or simple.isdigit():
            break
        chain.append(name)
        name = outer
    return chain


def _mentioned(declared: ClassDeclaration) -> set[str]:
    types = [*declared.parents]
    for method in declared.methods:
        types += [*method.arguments, method.returns, *method.throws]
    return {t.descriptor.lstrip("[")[1:-1] for t in types if t.descriptor.lstrip("[")[:1] == "L"}


def version() -> str:
    """Name what the jar depends on beside the class set: this code and the fields."""
    sources = [Path(__file__), Path(form.__file__), FIELDS]
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources))
    return f"{API_LEVEL}-{digest.hexdigest()[:12]}"
