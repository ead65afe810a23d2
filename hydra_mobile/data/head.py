"""The first records of a data file as the model sees them: template, image, what is learned."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.check_pictures import fault_of
from hydra_mobile.data.llava import Record, parse_record, with_marks
from hydra_mobile.data.source import Source
from hydra_mobile.data.validate import IMAGE_MARK
from hydra_mobile.models.processor import Encoded, MobileVLMProcessor
from hydra_mobile.models.templates import IGNORE_INDEX


@dataclass(frozen=True)
class SeenRecord:
    """One record.

    Attributes:
        where: its place in the file.
        image: path of the first one; None without one.
        images: paths of all.
        text: in segments; True where the loss learns it. Without a tokenizer: questions and
            answers.
        tokens: in all, image included; 0 without a tokenizer.
        learned: of them.
        fault: why training would refuse it; "" if it would not.
    """

    where: str
    image: Path | None
    text: tuple[tuple[str, bool], ...]
    tokens: int = 0
    learned: int = 0
    fault: str = ""
    images: tuple[Path, ...] = ()

    def marked(self) -> str:
        """Return the text with what the loss learns in [brackets]."""
        return "".join(f"[{text}]" if learned else text for text, learned in self.text)


@dataclass(frozen=True)
class Head:
    """The first records of a data file, and its form."""

    form: str
    records: tuple[SeenRecord, ...]


def data_head(
    path: Path,
    count: int,
    processor: MobileVLMProcessor | None = None,
    images: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> Head:
    """Return the first `count` records as the model sees them.

    Raises:
        DataError: the data cannot be read, or holds no record.
    """
    source = Source(path, columns)
    folder = source.folder if images is None else images
    seen = []
    for place in itertools.islice(source, count):
        try:
            record = parse_record(place.value, place.where, folder)
            fault = next(filter(None, map(fault_of, record.images)), "")
            seen.append(replace(_seen(record, place.where, processor), fault=fault))
        except DataError as error:
            seen.append(SeenRecord(place.where, None, (), fault=error.what))
    if not seen:
        raise DataError(f"{path} holds no records.", "A training file needs at least one.")
    return Head(source.title, tuple(seen))


def _seen(record: Record, where: str, processor: MobileVLMProcessor | None) -> SeenRecord:
    if processor is None:
        text = [
            part
            for turn in record.turns
            for part in ((with_marks(turn) + "\n", False), (turn.answer, True), ("\n", False))
        ]
        mark = [(f"{IMAGE_MARK}\n", False)] if record.image else []
        return _of(record, where, tuple(mark + text[:-1]))
    encoded = processor.encode_record(record.turns, record.image is not None)
    learned = sum(label != IGNORE_INDEX for label in encoded.labels)
    return _of(record, where, marked_text(encoded, processor), encoded.length, learned)


def _of(
    record: Record,
    where: str,
    text: tuple[tuple[str, bool], ...],
    tokens: int = 0,
    learned: int = 0,
) -> SeenRecord:
    first = next(iter(record.images), None)
    return SeenRecord(where, first, text, tokens, learned, images=record.images)


def marked_text(encoded: Encoded, processor: MobileVLMProcessor) -> tuple[tuple[str, bool], ...]:
    """Return a conversation's text in segments, with whether the loss learns each."""
    tokens = [(token, False) for token in encoded.prefix]
    learned = (label != IGNORE_INDEX for label in encoded.labels)
    return segments([*tokens, *zip(encoded.ids, learned, strict=True)], processor)


def segments(
    tokens: list[tuple[int, bool]], processor: MobileVLMProcessor
) -> tuple[tuple[str, bool], ...]:
    """Return the text of (token id, is learned) in segments, image tokens as one mark."""
    image = processor.image_token_id
    found = []
    # By id, not by text: an image token may decode to nothing.
    for (pictured, learns), group in itertools.groupby(tokens, key=lambda t: (t[0] == image, t[1])):
        ids = [token for token, _ in group]
        text = (
            f"<image: {len(ids)} tokens>"
            if pictured
            else processor.tokenizer.decode(ids, skip_special_tokens=False)
        )
        found.append((text, learns))
    return tuple(found)
