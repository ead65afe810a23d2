"""Token rows without files: what the token cache must give, by the short way."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hydra_mobile.data.llava import Record
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.training.data.dataset import Array, ConversationWriter, OverLength, collect
from hydra_mobile.training.data.packing import Rows, pack


class InMemory:
    """Grows in memory."""

    def __init__(self, typecode: str, dtype: type[np.generic]) -> None:
        self._values = array(typecode)
        self._dtype = dtype

    def extend(self, values: Sequence[Any]) -> None:
        """Append `values`."""
        self._values.extend(values)

    def finish(self) -> Array:
        """Return the whole array."""
        return np.frombuffer(self._values, dtype=self._dtype)


def build_rows(
    records: Sequence[Record],
    processor: MobileVLMProcessor,
    *,
    share_prefix: bool,
    questions_per_row: int,
    max_length: int,
    over_length: OverLength = "refuse",
) -> Rows:
    """Tokenize records in memory and pack those with the same picture, in the order of the file.

    Raises:
        DataError: a conversation is longer than `max_length` and `over_length` is "refuse"; names
            the record. Or none is left.
    """
    writer = ConversationWriter(
        InMemory("i", np.int32), InMemory("b", np.bool_), max_length, over_length
    )
    conversations = collect(records, processor, writer)
    packing = pack(
        conversations.pictures,
        conversations.lengths,
        len(conversations.prefix_with),
        share_prefix=share_prefix,
        questions_per_row=questions_per_row,
        max_length=max_length,
    )
    # The records' pictures are joined to their folder already.
    return Rows(conversations, packing, Path())
