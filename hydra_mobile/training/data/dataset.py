"""Tokenized conversations in flat arrays, in memory or mapped from files: 665,000 fit either way.

As Python lists, the tokens of a mix665k take 20 GB; here four bytes and one each. Decides what
becomes of conversations that are too long or that have nothing to learn.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import Record
from hydra_mobile.data.tokenize import encoded_records
from hydra_mobile.models.processor import Encoded, MobileVLMProcessor, of_images
from hydra_mobile.models.templates import IGNORE_INDEX

OverLength = Literal["refuse", "truncate", "drop"]
BadRecords = Literal["refuse", "drop"]
Array = NDArray[Any]


@dataclass(frozen=True)
class Strings:
    """Many strings in one array of bytes."""

    text: Array
    starts: Array

    @classmethod
    def of(cls, values: Iterable[str]) -> Strings:
        """Pack `values`; names that are not UTF-8 (Linux allows them) survive."""
        encoded = [value.encode(errors="surrogateescape") for value in values]
        starts = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(value) for value in encoded], out=starts[1:])
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> str:
        text: bytes = self.text[self.starts[index] : self.starts[index + 1]].tobytes()
        return text.decode(errors="surrogateescape")


@dataclass(frozen=True)
class Conversations:
    """N conversations with T tokens behind their prefixes, and P pictures.

    Attributes:
        ids: int32 [T], of all conversations one after another, prefixes left out.
        learned: bool [T], True where the loss is.
        starts: int64 [N + 1], where each conversation begins in `ids`.
        pictures: int64 [N], number of the picture in its prefix; -1 without one.
        placed: int64, numbers of the pictures in the ids of all conversations, in their order.
        placed_starts: int64 [N + 1], where those of each conversation begin in `placed`.
        names: path of each picture as the data file has it.
        owners: id of the first record with each picture, for messages.
        prefix_with: ids that precede every conversation about a picture.
        prefix_without: the same without a picture in the prefix.
        truncated: conversations cut to the longest length.
        dropped: conversations left out because they were too long.
        unmatched: conversations left out because their template masks them whole.
        malformed: records left out because they are not as expected.
    """

    ids: Array
    learned: Array
    starts: Array
    pictures: Array
    placed: Array
    placed_starts: Array
    names: Strings
    owners: Strings
    prefix_with: tuple[int, ...]
    prefix_without: tuple[int, ...]
    truncated: int
    dropped: int
    unmatched: int
    malformed: int

    @property
    def lengths(self) -> Array:
        """Tokens of each conversation, prefix left out: int64 [N]."""
        return np.diff(self.starts)


class Grower(Protocol):
    """An array of a length that is not known beforehand."""

    def extend(self, values: Sequence[Any]) -> None:
        """Append `values`."""

    def finish(self) -> Array:
        """Return the whole array."""


class ConversationWriter:
    """Collects encoded conversations; see `Conversations` for what comes out."""

    def __init__(
        self,
        ids: Grower,
        learned: Grower,
        max_length: int,
        over: OverLength,
        bad: BadRecords = "refuse",
    ) -> None:
        self._ids = ids
        self._learned = learned
        self._max_length = max_length
        self._over = over
        self._bad = bad
        self._starts = array("q", [0])
        self._pictures = array("q")
        self._placed = array("q")
        self._placed_starts = array("q", [0])
        self._numbers: dict[str, int] = {}
        self._owners: list[str] = []
        self._prefixes: dict[bool, list[int]] = {}
        self._number = -1
        self._truncated = self._dropped = self._unmatched = self._malformed = 0

    def add(self, record: Record, encoded: Encoded | DataError) -> None:
        """Take the next record of the file.

        Raises:
            DataError: its template refuses it, or it is too long and `over` is "refuse".
        """
        self._number += 1
        if isinstance(encoded, DataError):
            self.leave_out(DataError(f"{self._place(record)}: {encoded.what}", encoded.fix))
            return
        with_image = record.image is not None
        if self._prefixes.setdefault(with_image, encoded.prefix) != encoded.prefix:
            raise ValueError("the processor gave two prefixes for one kind of record")
        if not encoded.matched:
            self._unmatched += 1
            return
        ids, learned = encoded.ids, [label != IGNORE_INDEX for label in encoded.labels]
        if encoded.length > self._max_length:
            if self._over == "refuse":
                raise self._too_long(record, encoded)
            room = max(0, self._max_length - len(encoded.prefix))
            # A picture is there as a whole, or not at all.
            room = next((at for at, end in encoded.pictures if at < room < end), room)
            ids, learned = ids[:room], learned[:room]
            if self._over == "drop" or not any(learned):
                self._dropped += 1
                return
            self._truncated += 1
        self._ids.extend(ids)
        self._learned.extend(learned)
        self._starts.append(self._starts[-1] + len(ids))
        self._pictures.append(self._picture(record, record.image) if record.image else -1)
        for image, (_, end) in zip(record.placed, encoded.pictures, strict=True):
            if end <= len(ids):
                self._placed.append(self._picture(record, image))
        self._placed_starts.append(len(self._placed))

    def leave_out(self, error: DataError) -> None:
        """Count a record that is not as expected, or raise `error` if `bad` is "refuse"."""
        if self._bad == "refuse":
            raise error
        self._malformed += 1

    def finish(self) -> Conversations:
        """Return everything taken.

        Raises:
            DataError: nothing was, or nothing is left of it.
        """
        if len(self._starts) == 1:
            raise DataError(
                f"No conversation is left to train on: {self._number + 1} records, "
                f"{self._dropped} of them too long, {self._unmatched} masked whole; "
                f"{self._malformed} others are malformed.",
                "`hydra-mobile data check` says more about a data file.",
            )
        return Conversations(
            self._ids.finish(),
            self._learned.finish(),
            np.array(self._starts, dtype=np.int64),
            np.array(self._pictures, dtype=np.int64),
            np.array(self._placed, dtype=np.int64),
            np.array(self._placed_starts, dtype=np.int64),
            Strings.of(self._numbers),
            Strings.of(self._owners),
            tuple(self._prefixes.get(True, ())),
            tuple(self._prefixes.get(False, ())),
            self._truncated,
            self._dropped,
            self._unmatched,
            self._malformed,
        )

    def _picture(self, record: Record, image: Path) -> int:
        name = str(image)
        number = self._numbers.setdefault(name, len(self._numbers))
        if number == len(self._owners):
            self._owners.append(record.id)
        return number

    def _place(self, record: Record) -> str:
        return f"Record {self._number} (id {record.id!r})"

    def _too_long(self, record: Record, encoded: Encoded) -> DataError:
        images = of_images(encoded) or ", image included"
        return DataError(
            f"{self._place(record)} has {encoded.length} tokens{images}; data.max_length is "
            f"{self._max_length}.",
            "Shorten the record, raise data.max_length, or set data.over_length to truncate or "
            "drop.",
        )


def collect(
    records: Iterable[Record],
    processor: MobileVLMProcessor,
    writer: ConversationWriter,
    after_each: Callable[[], None] = lambda: None,
) -> Conversations:
    """Tokenize `records` into `writer`."""
    for record, encoded in encoded_records(records, processor):
        writer.add(record, encoded)
        after_each()
    return writer.finish()
