"""The tables of a dex file: which classes it defines, which methods it calls, which are native.

The instructions are not read. Format: Android's "Dalvik executable format", version 035 to 039.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass

from hydra_mobile.core.errors import ArtifactError

_NATIVE = 0x100
_NO_INDEX = 0xFFFFFFFF


@dataclass(frozen=True)
class MethodName:
    """A method by its class (`ai/onnxruntime/OrtSession`), name and descriptor."""

    owner: str
    name: str
    descriptor: str

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}{self.descriptor}"


@dataclass(frozen=True)
class Definition:
    """A class that a file defines; parents: superclass and interfaces."""

    name: str
    parents: tuple[str, ...]
    methods: tuple[MethodName, ...]
    natives: tuple[MethodName, ...]


@dataclass(frozen=True)
class Dex:
    """What one file defines and mentions; types as internal names, arrays by their elements."""

    definitions: tuple[Definition, ...]
    methods: tuple[MethodName, ...]
    types: tuple[str, ...]


def read_dex(data: bytes, where: str) -> Dex:
    """Read a dex file.

    Args:
        data: its bytes.
        where: names it in messages.

    Raises:
        ArtifactError: it is none, or damaged: checksum, signature, offsets.
    """
    if len(data) < 0x70 or data[:4] != b"dex\n":
        raise ArtifactError(f"{where} is no dex file: it begins with {data[:8]!r}.")
    if zlib.adler32(data[12:]) != struct.unpack_from("<I", data, 8)[0]:
        raise ArtifactError(f"{where} is damaged: its checksum is another.")
    if hashlib.sha1(data[32:], usedforsecurity=False).digest() != data[12:32]:
        raise ArtifactError(f"{where} is damaged: its signature is another.")
    try:
        return _Reader(data).read()
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where} is damaged: {error}.") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.strings = [self._string(at) for (at,) in self._table(0x38, "<I")]
        self.types = [self.strings[index] for (index,) in self._table(0x40, "<I")]
        self.prototypes = [
            f"({''.join(self._type_list(parameters))}){self.types[returns]}"
            for _, returns, parameters in self._table(0x48, "<III")
        ]
        self.methods = [
            MethodName(_internal(self.types[owner]), self.strings[name], self.prototypes[prototype])
            for owner, prototype, name in self._table(0x58, "<HHI")
        ]

    def read(self) -> Dex:
        definitions = tuple(
            self._definition(index, above, interfaces, members)
            for index, _, above, interfaces, _, _, members, _ in self._table(0x60, "<8I")
        )
        types = sorted({name for t in self.types if (name := _internal(t.lstrip("[")))})
        return Dex(definitions, tuple(self.methods), tuple(types))

    def _table(self, header: int, form: str) -> list[tuple[int, ...]]:
        count, offset = struct.unpack_from("<II", self.data, header)
        size = struct.calcsize(form)
        return [struct.unpack_from(form, self.data, offset + at * size) for at in range(count)]

    def _definition(self, index: int, above: int, interfaces: int, members: int) -> Definition:
        parents = [] if above == _NO_INDEX else [_internal(self.types[above])]
        parents += [_internal(t) for t in self._type_list(interfaces)]
        methods: list[MethodName] = []
        natives: list[MethodName] = []
        if members:
            at = members
            counts = []
            for _ in range(4):
                count, at = self._uleb(at)
                counts.append(count)
            for _ in range(counts[0] + counts[1]):
                _, at = self._uleb(at)
                _, at = self._uleb(at)
            for count in counts[2:]:
                method = 0
                for _ in range(count):
                    step, at = self._uleb(at)
                    flags, at = self._uleb(at)
                    _, at = self._uleb(at)
                    method += step
                    methods.append(self.methods[method])
                    if flags & _NATIVE:
                        natives.append(self.methods[method])
        name = _internal(self.types[index])
        return Definition(name, tuple(parents), tuple(methods), tuple(natives))

    def _type_list(self, at: int) -> list[str]:
        if not at:
            return []
        (count,) = struct.unpack_from("<I", self.data, at)
        return [self.types[i] for i in struct.unpack_from(f"<{count}H", self.data, at + 4)]

    def _string(self, at: int) -> str:
        _, at = self._uleb(at)
        end = self.data.index(0, at)
        # Java's own UTF-8: zero in two bytes, what needs two units in six.
        text = self.data[at:end].replace(b"\xc0\x80", b"\0")
        return text.decode("utf-8", "surrogatepass")

    def _uleb(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, at


def _internal(descriptor: str) -> str:
    """`Landroid/view/View;` as `android/view/View`; an array as it is, a primitive as nothing."""
    if descriptor.startswith("["):
        return descriptor
    return descriptor[1:-1] if descriptor.startswith("L") else ""
