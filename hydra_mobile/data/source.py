"""Training data in any form, as LLaVA-shaped records: a container times a dialect.

The container (json, jsonl, parquet, webdataset tar, hub data set, or shards of these) gives decoded
records; the dialect (messages, ShareGPT, LLaVA, named columns) is recognized record by record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.errors import DataError
from hydra_mobile.data.containers.base import Container, Shards, shards_in
from hydra_mobile.data.containers.hub import HubDataset, HubId
from hydra_mobile.data.containers.json_file import JsonFile
from hydra_mobile.data.containers.parquet import ParquetFile
from hydra_mobile.data.containers.tar import TarFile
from hydra_mobile.data.dialects import Columns, conversation_of
from hydra_mobile.data.embedded import place_of, unpack
from hydra_mobile.data.json_stream import Place

_CHECK = "Check the path of the data file."


class Source:
    """The records of a file, a folder of shards, a pattern or a hub id, in LLaVA's shape.

    Args:
        path: of it.
        columns: what other names the data's fields have; see `Columns`.
        keep_pictures: write images that are in the container itself to the cache; False: only
            name the files that they would be in.

    Attributes:
        folder: what relative paths of images are relative to, unless another is given.
        dialect: of the records so far; "" before the first.

    Raises:
        DataError: it is missing or cannot be read; while iterating: as its container.
    """

    def __init__(
        self, path: Path, columns: Mapping[str, str] | None = None, *, keep_pictures: bool = True
    ) -> None:
        self.path = path
        self.folder = path if path.is_dir() else path.parent
        self.dialect = ""
        self._columns = Columns.of(columns or {})
        self._keep = unpack if keep_pictures else place_of
        self._container = _container(path)

    def __iter__(self) -> Iterator[Place]:
        for place in self._container:
            value, dialect = conversation_of(place.value, self._columns, self._keep)
            self.dialect = self.dialect or dialect
            yield place if value is place.value else place._replace(value=value)

    @property
    def title(self) -> str:
        """What the data is, for people; the dialect is known behind the first record."""
        return f"{self.dialect or 'no records'}, {self._container.title}"

    @property
    def bytes_read(self) -> int:
        """Bytes of the container read so far."""
        return self._container.bytes_read

    @property
    def bytes_total(self) -> int:
        """Bytes of the container."""
        return self._container.bytes_total

    @property
    def pictures_inside(self) -> bool:
        """Whether images may be in the container itself."""
        return self._container.pictures_inside

    def sha256(self) -> str:
        """Return a hash of the content; it takes a while for a large file seen first."""
        return self._container.sha256()

    def count(self) -> int:
        """Return the number of records."""
        known = self._container.count()
        return sum(1 for _ in self._container) if known is None else known


def require_source(path: Path) -> None:
    """Raise unless there is a file, a folder or shards at `path`, or it can be a hub id.

    Raises:
        DataError: names it.
    """
    if not (path.exists() or HubId.of(path) or ("*" in path.name and shards_in(path))):
        raise DataError(f"{path} does not exist.", _CHECK)


def _container(path: Path) -> Container:
    identity = HubId.of(path)
    if identity:
        return HubDataset(identity)
    with reading(path, "training data", _CHECK, error_class=DataError):
        if path.is_dir() or ("*" in path.name and not path.exists()):
            shards = shards_in(path)
            if not shards:
                raise DataError(
                    f"{path} holds no data: expected *.parquet, *.tar or *.jsonl in it.", _CHECK
                )
            parts = [_of_file(shard) for shard in shards]
            return parts[0] if len(parts) == 1 else Shards(parts)
        return _of_file(path)


def _of_file(path: Path) -> Container:
    """Return the container of a file: what it is, is told by its first bytes."""
    if path.exists() and not path.is_file():
        # Whoever opens a pipe that nobody writes to waits for ever.
        raise DataError(
            f"{path} is no file but a pipe or a device.",
            "Write it to a file first: data is read more than once.",
        )
    if not path.exists():
        return JsonFile(path)
    with path.open("rb") as handle:
        start = handle.read(512)
    if start[:4] == b"PAR1":
        return ParquetFile(path)
    if start[257:262] == b"ustar" or start[:2] == b"\x1f\x8b":
        return TarFile(path)
    if path.suffix == ".parquet":
        raise DataError(
            f"{path} is not a parquet file: it begins with {start[:4]!r}, expected b'PAR1'.",
            "The file was cut short or altered; make or download it again.",
        )
    if path.suffix in (".tar", ".tgz"):
        raise DataError(
            f"{path} is not a tar file: it begins with {start[:4]!r}.",
            "The file was cut short or altered; make or download it again.",
        )
    return JsonFile(path)
