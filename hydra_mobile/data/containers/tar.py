"""A webdataset tar: neighboring members that share a key are one sample. Read as a stream.

The key is the name up to the first dot of its last part, as webdataset has it. A sample's `.json`
is the record, its picture members are the record's images.
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from hydra_mobile.core.boundaries import FOREIGN, reason_of, shown
from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.core.integrity import remembered_sha256
from hydra_mobile.data.json_stream import Place, decoded

_PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_CUT_SHORT = "The file was cut short or altered; make or download it again."
#: A larger sample is not a picture and a conversation.
_LARGEST_SAMPLE = 1 << 30
#: `tarfile` reads a header of names and times whole; compressed, 4 GB of it are 4 MB.
_LARGEST_HEADER = 1 << 20
_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_DAMAGED: tuple[type[Exception], ...] = (tarfile.TarError, lzma.LZMAError, *FOREIGN)
_BLOCK = 512
_CHUNK = 1 << 20


class _Header(tarfile.TarInfo):
    """A member's header, refused where it announces more of itself than fits into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the header that a block holds.

        Raises:
            tarfile.ReadError: nothing is left, and no block of zeros has closed the archive;
                `tarfile` takes that for its end.
        """
        if len(buf) < _BLOCK:
            raise tarfile.ReadError("it ends without an end of the archive")
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.size > _LARGEST_HEADER and header.type in _HEADERS):
            raise tarfile.ReadError(
                f"a header of {header.size:,} bytes, expected at most {_LARGEST_HEADER:,}"
            )
        return header


class TarFile:
    """The samples of a webdataset tar as records, also of a compressed one.

    Raises:
        DataError: while iterating: it is not a tar file, or is damaged.
    """

    title = "webdataset tar"
    pictures_inside = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self.bytes_total = path.stat().st_size
        self.bytes_read = 0

    def __iter__(self) -> Iterator[Place]:
        number, key, members = 0, "", dict[str, bytes]()
        try:
            with (
                self._path.open("rb") as handle,
                _unpacked(handle) as stream,
                tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as tar,
            ):
                for member in tar:
                    # A stream keeps every header it has seen: 665,000 of them take a gigabyte.
                    tar.members = []  # type: ignore[attr-defined]
                    if not member.isfile():
                        continue
                    name, kind = _split(member.name)
                    if members and name != key:
                        yield self._place(number, key, members)
                        number, members = number + 1, {}
                    key = name
                    if kind in members:
                        raise DataError(
                            f"{self._path}, sample {shown(key)} has two members .{kind}.",
                            "Write it again, with a key of its own for each sample.",
                        )
                    members[kind] = self._content(tar, member, sum(map(len, members.values())))
                    self.bytes_read = min(handle.tell(), self.bytes_total)
                # Behind the archive is the checksum of what was compressed.
                while stream is not handle and stream.read(_CHUNK):
                    pass
        except HydraError:
            raise
        except _DAMAGED as error:
            if not key and self._path.suffix == ".gz":
                raise DataError(
                    f"{self._path} is compressed, and holds no tar: {reason_of(error)}.",
                    f"Unpack it: gunzip {self._path.name}.",
                ) from error
            raise DataError(
                f"{self._path} cannot be read as tar behind sample {shown(key)} "
                f"(number {number}): {reason_of(error)}.",
                _CUT_SHORT,
            ) from error
        if members:
            yield self._place(number, key, members)
        self.bytes_read = self.bytes_total

    def _content(self, tar: tarfile.TarFile, member: tarfile.TarInfo, before: int) -> bytes:
        opened = tar.extractfile(member)
        if opened is None or before + member.size > _LARGEST_SAMPLE:
            raise DataError(
                f"{self._path}, member {shown(member.name)} makes a sample of "
                f"{before + member.size:,} bytes: expected an image and a conversation."
            )
        return opened.read()

    def _place(self, number: int, key: str, members: dict[str, bytes]) -> Place:
        where = f"{self._path}, sample {key}"
        return Place(number, where, _record(where, key, members))

    def sha256(self) -> str:
        """Return the file's hash."""
        return remembered_sha256(self._path)

    def count(self) -> int | None:
        """Return None: only reading tells."""
        return None


def _unpacked(handle: BinaryIO) -> BinaryIO:
    """Return a file's bytes, decompressed and compared with their checksum where it is packed."""
    packed = handle.read(2) == b"\x1f\x8b"
    handle.seek(0)
    return cast("BinaryIO", gzip.open(handle)) if packed else handle


def _split(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    key, _, kind = base.partition(".")
    return f"{folder}{slash}{key}", kind.lower()


def _record(where: str, key: str, members: dict[str, bytes]) -> Any:
    pictures = [data for kind, data in members.items() if kind.split(".")[-1] in _PICTURES]
    record: Any = {}
    for kind, data in members.items():
        last = kind.split(".")[-1]
        if last == "json":
            value = decoded(data, f"{where}: its .{kind}")
            if not isinstance(value, dict):
                return value
            record |= value
        elif last == "txt":
            try:
                record[kind] = data.decode("utf-8")
            except UnicodeDecodeError as error:
                return DataError(f"{where}: its .{kind} is no text: {reason_of(error)}.")
    if pictures:
        record.pop("image", None)
        record = {**record, "images": pictures}
    return {"id": key, **record}
