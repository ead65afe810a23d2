"""Many records to token ids: the processor's own arithmetic, its strings tokenized in batches.

The processor tokenizes a record string by string on one core. Here its calls are first collected
for a batch of records, tokenized together on all cores, and then answered from a table, so that ids
and labels are the processor's by construction.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import Record
from hydra_mobile.models.processor import Encoded, MobileVLMProcessor

_RECORDS_PER_BATCH = 512
_MOST_THREADS = 16


class _Collecting(MobileVLMProcessor):
    """Notes the strings that it is asked for, in place of tokenizing them."""

    def __init__(self, processor: MobileVLMProcessor) -> None:
        _become(self, processor)
        self.wanted: dict[str, None] = {}

    def text_ids(self, text: str) -> list[int]:
        self.wanted[text] = None
        return []


class _Answering(MobileVLMProcessor):
    """Answers from a table; a string that is not in it is tokenized after all."""

    def __init__(self, processor: MobileVLMProcessor) -> None:
        _become(self, processor)
        self.known: dict[str, list[int]] = {}

    def text_ids(self, text: str) -> list[int]:
        known = self.known.get(text)
        # A copy: callers may go on writing to what they get.
        return super().text_ids(text) if known is None else list(known)


def _become(one: MobileVLMProcessor, other: MobileVLMProcessor) -> None:
    MobileVLMProcessor.__init__(
        one,
        other.tokenizer,
        other.template,
        other.image,
        image_token_id=other.image_token_id,
        num_image_tokens=other.num_image_tokens,
        placing=other.placing,
    )
    one.control = other.control


def encoded_records(
    records: Iterable[Record], processor: MobileVLMProcessor
) -> Iterator[tuple[Record, Encoded | DataError]]:
    """Yield every record with `processor.encode_record` of it, or its error, in order.

    Reads one batch of records ahead, so that reading and tokenizing overlap.
    """
    source = iter(records)
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads, "tokenise") as pool:
        waiting: tuple[list[Record], list[Future[dict[str, list[int]]]]] | None = None
        while batch := list(islice(source, _RECORDS_PER_BATCH)):
            tables = [
                pool.submit(_tokenize, processor, part)
                for part in _parts(_strings(batch, processor), threads)
            ]
            if waiting:
                yield from _answers(*waiting, processor)
            waiting = batch, tables
        if waiting:
            yield from _answers(*waiting, processor)


def _strings(batch: Sequence[Record], processor: MobileVLMProcessor) -> list[str]:
    collecting = _Collecting(processor)
    for record in batch:
        _encoded(collecting, record)
    return list(collecting.wanted)


def _parts(strings: list[str], count: int) -> list[list[str]]:
    # In turn: neighbors are pieces of one conversation and alike in length.
    return [part for start in range(count) if (part := strings[start::count])]


def _tokenize(processor: MobileVLMProcessor, strings: list[str]) -> dict[str, list[int]]:
    # Names of control tokens that are text: rare, and not the batch's way of tokenizing.
    strings = [text for text in strings if not processor.control.is_marked(text)]
    # Releases the interpreter's lock; the fast kind leaves out character offsets.
    encodings = processor.tokenizer.encode_batch_fast(strings, add_special_tokens=False)
    return {text: encoding.ids for text, encoding in zip(strings, encodings, strict=True)}


def _answers(
    batch: list[Record], tables: list[Future[dict[str, list[int]]]], processor: MobileVLMProcessor
) -> Iterator[tuple[Record, Encoded | DataError]]:
    answering = _Answering(processor)
    answering.known = dict(chain.from_iterable(table.result().items() for table in tables))
    for record in batch:
        yield record, _encoded(answering, record)


def _encoded(processor: MobileVLMProcessor, record: Record) -> Encoded | DataError:
    try:
        return processor.encode_record(record.turns, record.image is not None)
    except DataError as error:
        return error
