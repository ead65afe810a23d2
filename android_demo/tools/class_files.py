"""Class files without code, from declarations: what a compiler needs to know of a library.

A format's bytes (Java Virtual Machine Specification, chapter 4).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from android_demo.tools.class_set import ClassDeclaration, Method, Variable

PUBLIC, STATIC, FINAL, INTERFACE, ABSTRACT = 0x1, 0x8, 0x10, 0x200, 0x400
ANNOTATION, ENUM = 0x2000, 0x4000
_PRIVATE, _SUPER = 0x2, 0x20
#: Of a method's flags those that a declaration keeps: not synchronized, native or strictfp.
_METHOD_FLAGS = 0x14DF
#: Java 8: interfaces may have static and default methods.
_MAJOR = 52
_OBJECT = "java/lang/Object"


@dataclass(frozen=True)
class Field:
    """A public field; value: of a constant, which compilers copy; None: read when the app runs."""

    name: str
    descriptor: str
    flags: int
    value: int | str | None = None


class _Pool:
    """The constant pool; every entry once."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.known: dict[bytes, int] = {}

    def _add(self, entry: bytes) -> int:
        if entry not in self.known:
            self.entries.append(entry)
            self.known[entry] = len(self.entries)
        return self.known[entry]

    def text(self, value: str) -> int:
        data = value.encode()
        return self._add(struct.pack(">BH", 1, len(data)) + data)

    def class_name(self, name: str) -> int:
        return self._add(struct.pack(">BH", 7, self.text(name)))

    def constant(self, value: int | str) -> int:
        if isinstance(value, str):
            return self._add(struct.pack(">BH", 8, self.text(value)))
        return self._add(struct.pack(">Bi", 3, value))

    def to_bytes(self) -> bytes:
        return struct.pack(">H", len(self.entries) + 1) + b"".join(self.entries)


def class_file(
    declared: ClassDeclaration, inner: Mapping[str, int], flags: int, fields: Sequence[Field] = ()
) -> bytes:
    """Return the bytes of a class file.

    Args:
        declared: the class. Its private methods and its initializer are left out.
        inner: flags of all member classes that the file mentions, by internal name.
        flags: of the class.
        fields: its fields.
    """
    pool = _Pool()
    this = pool.class_name(declared.name)
    parents = [parent.descriptor[1:-1] for parent in declared.parents]
    above = pool.class_name(parents[0]) if parents else 0
    body = struct.pack(">HHH", flags & ~STATIC | (0 if flags & INTERFACE else _SUPER), this, above)
    interfaces = [pool.class_name(name) for name in parents[1:]]
    body += struct.pack(f">H{len(interfaces)}H", len(interfaces), *interfaces)
    body += _listed([_field(field, pool) for field in fields])
    kept = [m for m in declared.methods if m.name != "<clinit>" and not m.flags & _PRIVATE]
    body += _listed([_method(method, pool) for method in kept])
    attributes = []
    if declared.variables or any(p.signature != p.descriptor for p in declared.parents):
        signature = _variables(declared.variables) + "".join(p.signature for p in declared.parents)
        attributes.append(_signature(signature, pool))
    if inner:
        attributes.append(_inner_classes(inner, pool))
    body += _listed(attributes)
    return struct.pack(">IHH", 0xCAFEBABE, 0, _MAJOR) + pool.to_bytes() + body


def _method(method: Method, pool: _Pool) -> bytes:
    flags = method.flags & _METHOD_FLAGS
    attributes = []
    if not flags & ABSTRACT:
        # `throw null`: nothing of this is ever run.
        wide = sum(2 if t.descriptor in "JD" else 1 for t in method.arguments)
        code = struct.pack(">HHI", 1, wide + 1, 2) + b"\x01\xbf" + struct.pack(">HH", 0, 0)
        attributes.append(_attribute("Code", code, pool))
    generic = (*method.generic_arguments, method.generic_returns)
    if method.variables or any(t.signature != t.descriptor for t in generic):
        arguments = "".join(t.signature for t in method.generic_arguments)
        signature = f"{_variables(method.variables)}({arguments}){method.generic_returns.signature}"
        attributes.append(_signature(signature, pool))
    if method.throws:
        thrown = [pool.class_name(t.descriptor[1:-1]) for t in method.throws]
        data = struct.pack(f">H{len(thrown)}H", len(thrown), *thrown)
        attributes.append(_attribute("Exceptions", data, pool))
    head = struct.pack(">HHH", flags, pool.text(method.name), pool.text(method.descriptor))
    return head + _listed(attributes)


def _field(field: Field, pool: _Pool) -> bytes:
    attributes = []
    if field.value is not None:
        data = struct.pack(">H", pool.constant(field.value))
        attributes.append(_attribute("ConstantValue", data, pool))
    head = struct.pack(">HHH", field.flags, pool.text(field.name), pool.text(field.descriptor))
    return head + _listed(attributes)


def _variables(variables: Sequence[Variable]) -> str:
    if not variables:
        return ""
    # Whether a bound is an interface is not known here; compilers accept either place.
    parts = [
        f"{v.name}" + ("".join(f":{bound.signature}" for bound in v.bounds) or f":L{_OBJECT};")
        for v in variables
    ]
    return f"<{''.join(parts)}>"


def _signature(text: str, pool: _Pool) -> bytes:
    return _attribute("Signature", struct.pack(">H", pool.text(text)), pool)


def _inner_classes(inner: Mapping[str, int], pool: _Pool) -> bytes:
    data = struct.pack(">H", len(inner))
    for name, flags in inner.items():
        outer, _, simple = name.rpartition("$")
        entry = pool.class_name(name), pool.class_name(outer), pool.text(simple), flags
        data += struct.pack(">HHHH", *entry)
    return _attribute("InnerClasses", data, pool)


def _attribute(name: str, data: bytes, pool: _Pool) -> bytes:
    return struct.pack(">HI", pool.text(name), len(data)) + data


def _listed(parts: Sequence[bytes]) -> bytes:
    return struct.pack(">H", len(parts)) + b"".join(parts)
