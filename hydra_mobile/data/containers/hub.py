"""A data set of the Hugging Face hub, through `datasets`: downloaded once, mapped from disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from hydra_mobile.core.boundaries import reading, reason_of
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.hub_id import is_hub_id
from hydra_mobile.core.registry import require_packages
from hydra_mobile.data.containers.base import without_nulls
from hydra_mobile.data.containers.parquet import holds_bytes, rows_of
from hydra_mobile.data.json_stream import Place

_ROWS, _PICTURED_ROWS = 256, 16
_ID = re.compile(
    r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?"
    r"(#(?P<config>[\w.-]+))?(:(?P<split>[\w.-]+))?"
)
_FILES = (".json", ".jsonl", ".parquet", ".tar", ".gz", ".tgz")


class HubId(NamedTuple):
    """`OWNER/NAME[@REVISION][#CONFIG][:SPLIT]`; the split is "train" where none is given."""

    name: str
    revision: str | None
    config: str | None
    split: str

    @classmethod
    def of(cls, path: Path) -> HubId | None:
        """Return the id that `path` spells; None: it is a path, or something else."""
        found = _ID.fullmatch(str(path))
        # A mistyped path in a folder that exists, or of a file, is no data set.
        if not found or not is_hub_id(found["name"]) or str(path).lower().endswith(_FILES):
            return None
        return cls(found["name"], found["revision"], found["config"], found["split"] or "train")


class HubDataset:
    """One split of a data set on the hub.

    Raises:
        DataError: it cannot be had; while iterating too.
    """

    title = "hub data set"

    def __init__(self, identity: HubId) -> None:
        require_packages(("datasets", "pyarrow"), "data")
        self._id = identity
        self.bytes_read = 0
        self.bytes_total = max(1, int(self._split.data.nbytes))
        self.pictures_inside = holds_bytes(self._split.data.schema)

    @cached_property
    def _split(self) -> Any:
        import datasets

        # The library that the hub's client is built on; its name differs between versions.
        from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

        name, revision, config, split = self._id
        quiet = datasets.utils.logging.is_progress_bar_enabled()
        datasets.disable_progress_bars()
        try:
            return datasets.load_dataset(name, config, split=split, revision=revision)
        # Of a data set's files, of the hub or the network, of a wrong split or configuration.
        except (datasets.exceptions.DatasetsError, OSError, ValueError, httpx.HTTPError) as error:
            raise DataError(
                f"{name} is not a file or folder here, and cannot be read as a data set of the "
                f"hub (split {split!r}): {reason_of(error)}.",
                "Check the path; an id is OWNER/NAME[@REVISION][#CONFIG][:SPLIT].",
            ) from error
        finally:
            if quiet:
                datasets.enable_progress_bars()

    def __iter__(self) -> Iterator[Place]:
        number = 0
        # As Arrow: pictures stay the bytes that they are.
        table = self._split.with_format("arrow")
        rows = _PICTURED_ROWS if self.pictures_inside else _ROWS
        for batch in table.iter(batch_size=rows):
            with reading(self._id.name, "rows of texts", error_class=DataError):
                found = rows_of(batch)
            for row in found:
                where = f"{self._id.name}:{self._id.split}, record {number}"
                yield Place(number, where, without_nulls(row))
                number += 1
            self.bytes_read = self.bytes_total * number // max(1, len(table))
        self.bytes_read = self.bytes_total

    def sha256(self) -> str:
        """Return the fingerprint of `datasets`, the same in every process.

        It hashes the builder's cache folder, which is named after the repository's commit and the
        data files.
        """
        return str(self._split._fingerprint)

    def count(self) -> int | None:
        """Return the number of records."""
        return len(self._split)
