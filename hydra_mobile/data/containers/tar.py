"""A webdataset tar: neighboring members that share a key are one sample. Read as a stream.

The key is the name up to the first dot of its last part, as webdataset has it. A sample's `.json`
is the record, its picture members are the record's images.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra_mobile.core.boundaries import reason_of
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.integrity import remembered_sha256
from hydra_mobile.data.json_guard import JsonGuard
from hydra_mobile.data.json_stream import Place

_PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_CUT_SHORT = "The file was cut short or altered; make or download it again."
#: A larger member is not a picture or a conversation.
_LARGEST_MEMBER = 1 << 30
_BLOCK = 512


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
            with self._path.open("rb") as handle, tarfile.open(fileobj=handle, mode="r|*") as tar:
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
                    members[kind] = self._content(tar, member)
                    self.bytes_read = min(handle.tell(), self.bytes_total)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise DataError(
                f"{self._path} cannot be read as tar behind sample {key!r} "
                f"(number {number}): {reason_of(error)}.",
                _CUT_SHORT,
            ) from error
        if members:
            yield self._place(number, key, members)
        self._require_end(key)
        self.bytes_read = self.bytes_total

    def _require_end(self, key: str) -> None:
        """Raise where the blocks that close an archive are missing, which `tarfile` overlooks."""
        with self._path.open("rb") as handle:
            compressed = handle.read(2) == b"\x1f\x8b"
            handle.seek(max(0, self.bytes_total - _BLOCK))
            if not compressed and handle.read().strip(b"\0"):
                raise DataError(
                    f"{self._path} is cut short: it ends behind sample {key!r} without an end "
                    "of the archive.",
                    _CUT_SHORT,
                )

    def _content(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        opened = tar.extractfile(member)
        if opened is None or member.size > _LARGEST_MEMBER:
            raise DataError(
                f"{self._path}, member {member.name!r} has {member.size:,} bytes: expected an "
                "image or a conversation."
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


def _split(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    key, _, kind = base.partition(".")
    return f"{folder}{slash}{key}", kind.lower()


def _record(where: str, key: str, members: dict[str, bytes]) -> Any:
    pictures = [data for kind, data in members.items() if kind.split(".")[-1] in _PICTURES]
    record: Any = {}
    for kind, data in members.items():
        last = kind.split(".")[-1]
        try:
            if last == "json":
                JsonGuard().feed(data)
                record = json.loads(data)
                if not isinstance(record, dict):
                    return record
        except (ValueError, RecursionError) as error:
            return DataError(f"{where}: its .{kind} is not JSON: {reason_of(error)}.", _CUT_SHORT)
        if last == "txt":
            record = {**record, kind: data.decode("utf-8", "replace")}
    if pictures:
        record.pop("image", None)
        record = {**record, "images": pictures}
    return {"id": key, **record}
