"""Tokenized rows of a data file on disk: made once in a stream, mapped by every process and run.

A store is a folder of .npy files under HYDRA_MOBILE_HOME. It is named by the hash of everything
that it was made from, so that a stale one is never read, and holds the hashes of its files, so
that a damaged one is made anew. It is renamed into place when complete, so that a killed build
leaves nothing that loads. The image folder is not part of it: paths are kept as the data file has
them.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.errors import ArtifactError, DataError
from hydra_mobile.core.files import cache_home, read_json, require_free_space, write_json
from hydra_mobile.core.folders import Mark, folder_atomically, recover
from hydra_mobile.core.integrity import (
    hashes_of,
    plain_files,
    read_sealed,
    require_recorded,
    sealed,
)
from hydra_mobile.core.json_text import dumps
from hydra_mobile.data.llava import Record, parse_record
from hydra_mobile.data.source import Source
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.training.data.dataset import (
    Array,
    BadRecords,
    Conversations,
    ConversationWriter,
    OverLength,
    Strings,
    collect,
)
from hydra_mobile.training.data.packing import Packing, Rows, pack

# Part of the key: raise it when stores would have other content or another form.
_FORMAT = 4
_FACTS = "rows.json"
_STORE = Mark(_FACTS, "tokenized rows")
_COUNTS = ("truncated", "dropped", "unmatched", "malformed")
# Four bytes and one a token, a token has about four characters, and room for the pictures' names.
_BYTES_PER_BYTE = 1.5
_BUFFERED_VALUES = 1 << 20

Progress = Callable[[int, int, str], None]


def open_rows(
    path: Path,
    images: Path | None,
    processor: MobileVLMProcessor,
    *,
    share_prefix: bool,
    questions_per_row: int,
    max_length: int,
    over_length: OverLength = "refuse",
    bad_records: BadRecords = "refuse",
    columns: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Rows:
    """Return the rows of training data, tokenizing it when that has not been done.

    Args:
        path: of the data, in any form that `Source` reads.
        images: the folder that record paths are relative to; None for the file's own folder.
        processor: tokenizer, template and number of image tokens.
        share_prefix: pack conversations about one picture into one row.
        questions_per_row: most conversations in a row.
        max_length: most tokens in a row, image tokens included.
        over_length: what becomes of a conversation that is longer.
        bad_records: what becomes of a record that is not as expected.
        columns: other names of the data's fields.
        progress: called with (done, total, what) while tokenizing, in megabytes of the file.

    Raises:
        DataError: the file is not as expected; or a record is not and `bad_records` is "refuse";
            or one is too long and `over_length` is "refuse"; names the record.
        HydraError: the disk is too full.
    """
    packing: dict[str, Any] = {
        "share_prefix": share_prefix,
        "questions_per_row": questions_per_row,
        "max_length": max_length,
    }
    source = Source(path, columns)
    folder = (
        cache_home()
        / "rows"
        / f"{path.stem}-{_key(source, columns, processor, packing, over_length, bad_records)}"
    )
    # A killed writer may have left its lock beside rows that are whole.
    recover(folder)
    if not _sound(folder):
        require_free_space(
            folder, int(source.bytes_total * _BYTES_PER_BYTE), f"the tokens of {path}"
        )
        with folder_atomically(folder, mark=_STORE) as temporary:
            _build(temporary, source, processor, packing, over_length, bad_records, progress)
    return _load(folder, source.folder if images is None else images)


def _sound(folder: Path) -> bool:
    """Whether there are rows, as they were written; others are made anew."""
    try:
        facts = read_sealed(folder / _FACTS, "the facts of tokenized rows", "")
        require_recorded(folder, facts["files"], _FACTS, "")
        # Unpacked images are in a part of the cache that may have been cleared by itself.
        if facts.get("unpacked") and not all(
            path.is_file() for path in _load(folder, Path()).images()
        ):
            return False
    except ArtifactError:
        return False
    return True


def _key(
    source: Source,
    columns: Mapping[str, str] | None,
    processor: MobileVLMProcessor,
    packing: dict[str, Any],
    over_length: OverLength,
    bad_records: BadRecords,
) -> str:
    made_from = {
        "format": _FORMAT,
        "data": source.sha256(),
        "tokenizer": hashlib.sha256(processor.tokenizer.to_str().encode()).hexdigest(),
        "template": processor.template.to_dict(),
        "image": [processor.image_token_id, processor.num_image_tokens],
        **({"tiles": processor.image_ids} if processor.image.tiles else {}),
        **({"placing": astuple(processor.placing)} if processor.placing else {}),
        "packing": packing,
        "over_length": over_length,
        "bad_records": bad_records,
    }
    if columns:
        made_from["columns"] = dict(columns)
    return hashlib.sha256(dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]


def _build(
    folder: Path,
    source: Source,
    processor: MobileVLMProcessor,
    packing: dict[str, Any],
    over_length: OverLength,
    bad_records: BadRecords,
    progress: Progress,
) -> None:
    shown = -1

    def show() -> None:
        nonlocal shown
        done = source.bytes_read // 10**6
        if done != shown:
            shown = done
            progress(done, max(1, source.bytes_total // 10**6), f"tokenizing {source.path.name}")

    ids = _InFile(folder / "ids.npy", "i", np.int32)
    learned = _InFile(folder / "learned.npy", "b", np.bool_)
    writer = ConversationWriter(ids, learned, packing["max_length"], over_length, bad_records)
    held = collect(_records(source, writer), processor, writer, show)
    packed = pack(held.pictures, held.lengths, len(held.prefix_with), **packing)
    arrays = {
        "starts": held.starts,
        "pictures": held.pictures,
        "placed": held.placed,
        "placed_starts": held.placed_starts,
        "names": held.names.text,
        "name_starts": held.names.starts,
        "owners": held.owners.text,
        "owner_starts": held.owners.starts,
        "order": packed.order,
        "first": packed.first,
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    facts = {
        "format": _FORMAT,
        "made_from": str(source.path),
        "unpacked": source.pictures_inside,
        "tokens": len(held.ids),
        "prefix_with": held.prefix_with,
        "prefix_without": held.prefix_without,
        **{name: getattr(held, name) for name in _COUNTS},
        "files": hashes_of(folder, plain_files(folder)),
    }
    write_json(folder / _FACTS, sealed(facts))


def _records(source: Source, writer: ConversationWriter) -> Iterator[Record]:
    """Yield records with their pictures' paths as the file has them."""
    for _, where, value in source:
        try:
            record = parse_record(value, where, Path())
        except DataError as error:
            writer.leave_out(error)
        else:
            yield record


def _load(folder: Path, images: Path) -> Rows:
    facts = read_json(folder / _FACTS, "the facts of tokenized rows")

    def mapped(name: str) -> Array:
        try:
            return _mapped(folder / f"{name}.npy")
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{folder / name}.npy cannot be read: {error}.",
                f"Remove the folder {folder}; the rows are made anew.",
            ) from error

    conversations = Conversations(
        ids=mapped("ids"),
        learned=mapped("learned"),
        # Read at every access: in memory, eight bytes a conversation.
        starts=np.array(mapped("starts")),
        pictures=np.array(mapped("pictures")),
        placed=np.array(mapped("placed")),
        placed_starts=np.array(mapped("placed_starts")),
        names=Strings(mapped("names"), mapped("name_starts")),
        owners=Strings(mapped("owners"), mapped("owner_starts")),
        prefix_with=tuple(facts["prefix_with"]),
        prefix_without=tuple(facts["prefix_without"]),
        **{name: facts[name] for name in _COUNTS},
    )
    packing = Packing(np.array(mapped("order")), np.array(mapped("first")))
    return Rows(conversations, packing, images)


def _mapped(path: Path) -> Array:
    with reading(path, "stored tokens", f"Remove {path.parent}: it will be made again."):
        values: Array = np.load(path, mmap_mode="r")
    return values


class _InFile:
    """An array that grows in a .npy file."""

    def __init__(self, path: Path, typecode: str, dtype: type[np.generic]) -> None:
        self._path = path
        self._buffer = array(typecode)
        self._dtype = np.dtype(dtype)
        self._length = 0
        with path.open("wb") as handle:
            self._write_header(handle)

    def extend(self, values: Sequence[Any]) -> None:
        """Append `values`."""
        self._buffer.extend(values)
        if len(self._buffer) >= _BUFFERED_VALUES:
            self._flush()

    def finish(self) -> Array:
        """Return the whole array, mapped."""
        self._flush()
        with self._path.open("r+b") as handle:
            self._write_header(handle)
        return _mapped(self._path)

    def _flush(self) -> None:
        with self._path.open("ab") as handle:
            self._buffer.tofile(handle)
        self._length += len(self._buffer)
        del self._buffer[:]

    def _write_header(self, handle: Any) -> None:
        # Numpy leaves room in the header for the first axis to grow.
        np.lib.format.write_array_header_1_0(
            handle,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._length,),
            },
        )
