"""Android's public classes and methods, read from the class set that the decompiler jadx ships.

No public archive of packages carries a current `android.jar`; the jar that D8 comes in also holds
jadx's list of what Android 12L (API 32) declares: classes, supertypes, methods with generic types
and flags, no fields and no code.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hydra_mobile.core.errors import ArtifactError

_HEADER, _VERSION = b"jadx-cst", 3
_NO_TYPE = 255


@dataclass(frozen=True)
class Type:
    """A type as a class file writes it: `Ljava/util/List;` and `Ljava/util/List<TT;>;`."""

    descriptor: str
    signature: str


@dataclass(frozen=True)
class Variable:
    """A type variable of a class or method, as `T::Ljava/lang/Runnable;` is meant."""

    name: str
    bounds: tuple[Type, ...]


@dataclass(frozen=True)
class Method:
    """A method: erased types for its descriptor, generic ones for its signature."""

    name: str
    arguments: tuple[Type, ...]
    returns: Type
    generic_arguments: tuple[Type, ...]
    generic_returns: Type
    variables: tuple[Variable, ...]
    flags: int
    throws: tuple[Type, ...]

    @property
    def descriptor(self) -> str:
        """For example `(I)Landroid/view/View;`."""
        return f"({''.join(t.descriptor for t in self.arguments)}){self.returns.descriptor}"


@dataclass(frozen=True)
class ClassDeclaration:
    """A class by its internal name (`android/view/View$OnClickListener`); parents: super first."""

    name: str
    parents: tuple[Type, ...]
    variables: tuple[Variable, ...]
    methods: tuple[Method, ...]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.names: list[str] = []

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self, form: str) -> int:
        value: int = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def text(self) -> str:
        length = self.byte()
        self.at += length
        return self.data[self.at - length : self.at].decode("ascii")

    def types(self) -> tuple[Type, ...]:
        count = self.byte()
        return () if count == _NO_TYPE else tuple(self.type() for _ in range(count))

    def type(self) -> Type:
        kind = self.byte()
        readers: list[Callable[[], Type]] = [
            *(self._wildcard, self._generic, self._variable_use, self._inner),
            *(self._object, self._array, self._primitive),
        ]
        if kind >= len(readers):
            raise ValueError(f"type of kind {kind}")
        return readers[kind]()

    def variables(self) -> tuple[Variable, ...]:
        made = []
        for _ in range(self.byte()):
            if (kind := self.byte()) != 2:
                raise ValueError(f"a type variable of kind {kind}")
            made.append(Variable(self.text(), self.types()))
        return tuple(made)

    def _wildcard(self) -> Type:
        bound = self.byte()
        # `?`, `? extends`, and -1: `? super`.
        marks = {0: "*", 1: "+", 255: "-"}
        return Type("", marks[bound] + (self.type().signature if bound else ""))

    def _generic(self) -> Type:
        name = self.names[self.number(">i")]
        arguments = "".join(part.signature for part in self.types())
        return Type(f"L{name};", f"L{name}<{arguments}>;" if arguments else f"L{name};")

    def _variable_use(self) -> Type:
        name = self.text()
        bounds = self.types()
        return Type(bounds[0].descriptor if bounds else "Ljava/lang/Object;", f"T{name};")

    def _inner(self) -> Type:
        outer, inner = self.type(), self.type()
        simple = inner.signature[1:].rpartition("/")[2]
        return Type(inner.descriptor, f"{outer.signature[:-1]}.{simple}")

    def _object(self) -> Type:
        name = self.names[self.number(">i")]
        return Type(f"L{name};", f"L{name};")

    def _array(self) -> Type:
        of = self.type()
        return Type(f"[{of.descriptor}", f"[{of.signature}")

    def _primitive(self) -> Type:
        letter = chr(self.byte())
        return Type(letter, letter)

    def optional_type(self, otherwise: Type) -> Type:
        if self.data[self.at] == _NO_TYPE:
            self.at += 1
            return otherwise
        return self.type()

    def method(self) -> Method:
        name, arguments, returns = self.text(), self.types(), self.type()
        generic_arguments, generic_returns = self.types(), self.optional_type(returns)
        variables, flags, throws = self.variables(), self.number(">i"), self.types()
        return Method(
            name=name,
            arguments=arguments,
            returns=returns,
            generic_arguments=generic_arguments or arguments,
            generic_returns=generic_returns,
            variables=variables,
            flags=flags,
            throws=throws,
        )


def read_class_set(data: bytes) -> dict[str, ClassDeclaration]:
    """Read the bytes of a `.jcst` file into classes by internal name.

    Raises:
        ArtifactError: it is of another version, or damaged.
    """
    if data[: len(_HEADER)] != _HEADER or data[len(_HEADER)] != _VERSION:
        raise ArtifactError(
            f"The class set begins with {data[:9]!r}, expected {_HEADER!r} and version {_VERSION}.",
            "Report it: the pinned jar and its reader disagree.",
        )
    reader = _Reader(data)
    reader.at = len(_HEADER) + 1
    try:
        names = [reader.text().replace(".", "/") for _ in range(reader.number(">i"))]
        reader.names = names
        classes = {name: _class(name, reader) for name in names}
    except (LookupError, ValueError, struct.error) as error:
        raise ArtifactError(f"The class set is damaged at byte {reader.at}: {error}.") from error
    if reader.at != len(data):
        raise ArtifactError(f"The class set has {len(data) - reader.at} bytes too many.")
    return classes


def _class(name: str, reader: _Reader) -> ClassDeclaration:
    parents, variables = reader.types(), reader.variables()
    methods = tuple(reader.method() for _ in range(reader.number(">h")))
    return ClassDeclaration(name, parents, variables, methods)


def finds_method(
    classes: Mapping[str, ClassDeclaration], owner: str, name: str, descriptor: str
) -> bool:
    """Say whether a class or one of its supertypes declares a method; None of them known: False."""
    left, seen = [owner], set()
    while left:
        current = left.pop()
        if current in seen or current not in classes:
            continue
        seen.add(current)
        declared = classes[current]
        if any(m.name == name and m.descriptor == descriptor for m in declared.methods):
            return True
        left += [parent.descriptor[1:-1] for parent in declared.parents]
        # An interface's callers may use what every object has.
        left.append("java/lang/Object")
    return False
