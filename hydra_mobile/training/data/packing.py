"""Conversations to token rows: one picture and the conversations about it share a row.

Several conversations about one picture repeat its prefix (template start and image tokens). A row
holds the prefix once and the conversations behind it as segments; the mask lets a segment see the
prefix and itself, and positions restart behind the prefix, so every segment gets exactly the logits
that it would get alone. A conversation with pictures in its questions has a row of its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.models.templates import IGNORE_INDEX
from hydra_mobile.training.data.dataset import Array, Conversations


@dataclass(frozen=True)
class Segment:
    """Ids and labels (-100: no loss) of one conversation behind the prefix."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A prefix and the conversations that share it, with the pictures of all, in order."""

    images: tuple[Path, ...]
    prefix: tuple[int, ...]
    segments: tuple[Segment, ...]

    @property
    def length(self) -> int:
        """Tokens in the row."""
        return len(self.prefix) + sum(len(segment.ids) for segment in self.segments)


class Rows(Sequence[Row]):
    """R rows; each is made when it is asked for, what a sampler asks of all is in arrays.

    Attributes:
        truncated, dropped, unmatched, malformed: conversations that were cut, too long and left
            out, left out because nothing of them is learned, left out because they are malformed.
        pictureless: conversations left out because their picture is missing or damaged.
    """

    def __init__(self, conversations: Conversations, packing: Packing, images: Path) -> None:
        self._conversations = conversations
        self._packing = packing
        self._images = images
        self.truncated = conversations.truncated
        self.dropped = conversations.dropped
        self.unmatched = conversations.unmatched
        self.malformed = conversations.malformed
        self.pictureless = 0
        self._numbers: Sequence[int] = range(len(conversations.names))

    @cached_property
    def conversations(self) -> Array:
        """Conversations in each row, int64 [R]."""
        return np.diff(self._packing.first)

    @cached_property
    def _firsts(self) -> Array:
        """The first conversation of each row, int64 [R]."""
        return np.asarray(self._packing.order[self._packing.first[:-1]])

    @cached_property
    def pictures(self) -> Array:
        """Number of the picture in each row's prefix, int64 [R]; -1 without one."""
        return np.asarray(self._conversations.pictures[self._firsts])

    @cached_property
    def image_counts(self) -> Array:
        """Pictures of each row, int64 [R]."""
        placed = np.diff(self._conversations.placed_starts)[self._firsts]
        return np.asarray(placed + (self.pictures >= 0))

    @property
    def with_image(self) -> Array:
        """Whether each row has a picture, bool [R]."""
        return self.image_counts > 0

    def _placed(self, index: int) -> Array:
        """Return the numbers of the pictures in the questions of a row."""
        held, at = self._conversations, int(self._firsts[index])
        return held.placed[held.placed_starts[at] : held.placed_starts[at + 1]]

    def _named(self) -> Iterator[tuple[int, Array]]:
        """Yield the rows with pictures in their questions, and the numbers of these."""
        for index in np.flatnonzero(self.image_counts - (self.pictures >= 0)).tolist():
            yield index, self._placed(index)

    @cached_property
    def lengths(self) -> Array:
        """Tokens in each row, int64 [R]."""
        of_segments = self._conversations.lengths[self._packing.order]
        prefixes = len(self._conversations.prefix_with), len(self._conversations.prefix_without)
        lengths = np.add.reduceat(of_segments, self._packing.first[:-1])
        return lengths + np.where(self.pictures >= 0, *prefixes)

    def images(self) -> list[Path]:
        """Return every picture once, in the order of the file."""
        return [self.image(number) for number in self._numbers]

    def image(self, number: int) -> Path:
        """Return the path of picture `number`."""
        return self._images / self._conversations.names[number]

    @property
    def numbers(self) -> Sequence[int]:
        """Numbers of the pictures, each once, as `images` has them."""
        return self._numbers

    def split(self, share: float, seed: int) -> tuple[Rows, Rows]:
        """Return all rows but a share of the pictures and text-only rows, and these.

        Rows about one picture stay together, so that no picture is on both sides; rows with
        several pictures hold all rows about any of these together.

        Args:
            share: of all pictures and text-only rows; at least one is held out and one is left.
            seed: draws them.
        """
        # Text-only rows are groups of their own, numbered below zero.
        groups = np.where(self.pictures >= 0, self.pictures, -1 - np.arange(len(self)))
        groups = self._joined(groups)
        different = np.unique(groups)
        count = min(max(1, round(share * len(different))), len(different) - 1)
        chosen = np.random.default_rng(seed).permutation(different)[:count]
        held = np.isin(groups, chosen)
        return self._where(~held), self._where(held)

    def _joined(self, groups: Array) -> Array:
        """Return groups in which rows that share a picture are one: int64 [R]."""
        heads: dict[int, int] = {}

        def head(group: int) -> int:
            while group in heads:
                group = heads[group]
            return group

        for index, numbers in self._named():
            own = head(int(groups[index]))
            for number in numbers.tolist():
                other = head(number)
                if other != own:
                    heads[own], own = other, other
        if not heads:
            return groups
        return np.array([head(group) for group in groups.tolist()], dtype=np.int64)

    def _where(self, kept: Array) -> Rows:
        conversations = np.repeat(kept, self.conversations)
        first = np.concatenate([[0], np.cumsum(self.conversations[kept])])
        packing = Packing(self._packing.order[conversations], first)
        rows = Rows(self._conversations, packing, self._images)
        there = set(rows.pictures.tolist())
        there.update(number for _, numbers in rows._named() for number in numbers.tolist())
        rows._numbers = [number for number in self._numbers if number in there]
        return rows

    def without(self, pictures: Sequence[int]) -> Rows:
        """Return the rows none of whose pictures is one of the numbers in `pictures`."""
        numbers = np.asarray(pictures, dtype=np.int64)
        gone = np.isin(self.pictures, numbers)
        for index, placed in self._named():
            gone[index] = np.isin(placed, numbers).any()
        rows = self._where(~gone)
        rows.pictureless = self.pictureless + int(self.conversations[gone].sum())
        return rows

    def record_of(self, image: Path) -> str:
        """Return the id of the first record with this picture; "" if there is none.

        Looks through all names: for messages.
        """
        names = self._conversations.names
        for number in range(len(names)):
            if self._images / names[number] == image:
                return self._conversations.owners[number]
        return ""

    def __len__(self) -> int:
        return len(self._packing.first) - 1

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        """Return a row, or a list of rows for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        held = self._conversations
        start, end = self._packing.first[index : index + 2]
        picture = int(self.pictures[index])
        numbers = self._placed(index).tolist() if picture < 0 else [picture]
        return Row(
            tuple(self._images / held.names[number] for number in numbers),
            held.prefix_without if picture < 0 else held.prefix_with,
            tuple(self._segment(number) for number in self._packing.order[start:end].tolist()),
        )

    def supervised(self, index: int) -> int:
        """Return how many tokens of a row the loss is over, without making the row."""
        held = self._conversations
        numbers = self._packing.order[slice(*self._packing.first[index : index + 2])]
        return sum(int(held.learned[held.starts[n] : held.starts[n + 1]].sum()) for n in numbers)

    def _segment(self, number: int) -> Segment:
        held = self._conversations
        part = slice(held.starts[number], held.starts[number + 1])
        ids = held.ids[part]
        labels = np.where(held.learned[part], ids, IGNORE_INDEX)
        return Segment(tuple(ids.tolist()), tuple(labels.tolist()))


@dataclass(frozen=True)
class Packing:
    """R rows of N conversations.

    Attributes:
        order: int64 [N], numbers of the conversations, row after row.
        first: int64 [R + 1], where each row begins in `order`.
    """

    order: NDArray[Any]
    first: NDArray[Any]


def pack(
    pictures: NDArray[Any],
    lengths: NDArray[Any],
    prefix_length: int,
    *,
    share_prefix: bool,
    questions_per_row: int,
    max_length: int,
) -> Packing:
    """Pack conversations in the order of the file.

    A row is closed by the conversation that no longer fits in; rows that are open at the end
    follow in the order in which their pictures first appeared.

    Args:
        pictures: int64 [N], number of each conversation's picture, -1 without one.
        lengths: int64 [N], tokens of each, prefix left out.
        prefix_length: tokens that the conversations of a picture share.
        share_prefix: False gives every conversation its own row.
        questions_per_row: most conversations in a row.
        max_length: most tokens in a row.
    """
    if not share_prefix:
        return Packing(np.arange(len(pictures)), np.arange(len(pictures) + 1))
    order, first = array("q"), array("q", [0])

    def close(group: list[int]) -> None:
        order.extend(group)
        first.append(len(order))

    waiting: dict[int, list[int]] = {}
    room: dict[int, int] = {}
    for number, picture in enumerate(pictures.tolist()):
        if picture < 0:
            close([number])
            continue
        length = int(lengths[number])
        group = waiting.setdefault(picture, [])
        if group and (len(group) == questions_per_row or length > room[picture]):
            close(group)
            group.clear()
        if not group:
            room[picture] = max_length - prefix_length
        group.append(number)
        room[picture] -= length
    for group in waiting.values():
        close(group)
    return Packing(np.array(order, dtype=np.int64), np.array(first, dtype=np.int64))
