"""Conversations to token rows: one picture and the conversations about it share a row.

Several conversations about one picture repeat its prefix (template start and image tokens). A row
holds the prefix once and the conversations behind it as segments; the mask lets a segment see the
prefix and itself, and positions restart behind the prefix, so every segment gets exactly the
logits that it would get alone. Knows no batching and no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.data.llava import Record
from hydra_mobile.errors import DataError
from hydra_mobile.models.processor import MobileVLMProcessor


@dataclass(frozen=True)
class Segment:
    """Ids and labels (-100: no loss) of one conversation behind the prefix."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A prefix, its picture, and the conversations that share it."""

    image: Path | None
    prefix: tuple[int, ...]
    segments: tuple[Segment, ...]

    @property
    def length(self) -> int:
        """Tokens in the row."""
        return len(self.prefix) + sum(len(segment.ids) for segment in self.segments)


def build_rows(
    records: Sequence[Record],
    processor: MobileVLMProcessor,
    *,
    share_prefix: bool,
    questions_per_row: int,
    max_length: int,
) -> list[Row]:
    """Tokenise records and pack those with the same picture, in the order of the file.

    Raises:
        DataError: a conversation is longer than `max_length`; names the record.
    """
    waiting: dict[Path, list[Segment]] = {}
    rows: list[Row] = []
    prefix_with = tuple(processor.prefix_ids(True))
    prefix_without = tuple(processor.prefix_ids(False))
    for record in records:
        prefix = prefix_without if record.image is None else prefix_with
        ids, labels = processor.encode_turns(record.turns)
        if len(prefix) + len(ids) > max_length:
            raise DataError(
                f"Record {record.id!r} has {len(prefix) + len(ids)} tokens, image included; "
                f"data.max_length is {max_length}.",
                "Shorten the record or raise data.max_length.",
            )
        segment = Segment(tuple(ids), tuple(labels))
        if record.image is None or not share_prefix:
            rows.append(Row(record.image, prefix, (segment,)))
            continue
        group = waiting.setdefault(record.image, [])
        row_length = len(prefix) + sum(len(s.ids) for s in group)
        if len(group) == questions_per_row or row_length + len(ids) > max_length:
            rows.append(Row(record.image, prefix, tuple(group)))
            group.clear()
        group.append(segment)
    rows += [Row(image, prefix_with, tuple(group)) for image, group in waiting.items()]
    return rows
