"""Which conversations share a row: those about one picture, until the row is full.

Works on numbers alone, so that a picture's conversations may lie anywhere in a file of 665,000
records.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
