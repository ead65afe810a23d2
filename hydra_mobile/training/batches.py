"""Rows to batches of like length, in an order that only the seed decides; batches to tensors.

The order is a function of (seed, epoch), so that a resumed run goes on with exactly the batches
that the interrupted one had left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hydra_mobile.models.templates import IGNORE_INDEX
from hydra_mobile.training.data.packing import Row, Rows

# Rows are sorted by length inside windows of this many batches: long enough for even lengths,
# short enough that batches stay mixed.
_WINDOW_BATCHES = 32
# Rows are padded to multiples of this. Libraries compile a kernel for every shape that they meet
# (oneDNN for every number of tokens times every rank), so that lengths should repeat.
_LENGTH_STEP = 32


@dataclass(frozen=True)
class Batch:
    """Tensors of one micro-batch; L is the longest row.

    Attributes:
        input_ids: int64 [B, L], padded with 0.
        labels: int64 [B, L], -100 where there is no loss.
        position_ids: int64 [B, L]; every segment goes on from the end of the prefix.
        attention_mask: bool [B, 1, L, L]; True where row may look at column. None where every row
            is one conversation: causal attention then needs no mask, since padding is at the
            end, and runs on the fastest kernels.
        conversations: number of conversations in it.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    attention_mask: Tensor | None
    conversations: int


def epoch_batches(
    rows: Rows, conversations_per_batch: int, seed: int, epoch: int, by_modality: bool = False
) -> list[list[int]]:
    """Return row indices of every batch of one epoch.

    A batch takes rows until the next one would exceed `conversations_per_batch`; it always has
    at least one. With `by_modality`, rows with a picture and rows without never share a batch.
    """
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(rows))
    if by_modality:
        pictured = rows.with_image[order]
        groups = [order[pictured], order[~pictured]]
    else:
        groups = [order]
    batches: list[list[int]] = []
    for group in groups:
        if len(group):
            batches += _bucketed(rows, group, conversations_per_batch)
    return [batches[i] for i in generator.permutation(len(batches))]


def _bucketed(rows: Rows, order: NDArray[Any], most: int) -> list[list[int]]:
    """Batch the rows of `order`, like lengths together, window by window."""
    conversations = rows.conversations[order]
    lengths = rows.lengths[order]
    window = max(1, round(_WINDOW_BATCHES * most / max(1.0, conversations.mean())))
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        # Stable: rows of one length stay in the order that the seed gave them.
        places = start + np.argsort(-lengths[start : start + window], kind="stable")
        batch: list[int] = []
        held = 0
        for index, count in zip(
            order[places].tolist(), conversations[places].tolist(), strict=True
        ):
            if batch and held + count > most:
                batches.append(batch)
                batch, held = [], 0
            batch.append(index)
            held += count
        batches.append(batch)
    return batches


def largest_batch(rows: Rows, batches: Sequence[Sequence[int]]) -> Sequence[int]:
    """Return the batch of the most `cells`, and of these the most pictures in a row.

    Its rows are not made.
    """
    lengths, images = rows.lengths, rows.image_counts
    return max(
        batches,
        key=lambda batch: (len(batch) * int(lengths[batch].max()), int(images[batch].max())),
    )


def cells(rows: Sequence[Row]) -> int:
    """Return the size of the batch that `rows` make: their number times the longest."""
    return len(rows) * max(row.length for row in rows)


def collate(rows: Sequence[Row]) -> Batch:
    """Turn rows into padded tensors."""
    longest = -(-max(row.length for row in rows) // _LENGTH_STEP) * _LENGTH_STEP
    shape = (len(rows), longest)
    ids = np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, IGNORE_INDEX, dtype=np.int64)
    positions = np.zeros(shape, dtype=np.int64)
    # Segment 0 is the prefix; -1 is padding.
    segments = np.full(shape, -1, dtype=np.int64)
    for b, row in enumerate(rows):
        at = len(row.prefix)
        ids[b, :at] = row.prefix
        positions[b, :at] = np.arange(at)
        segments[b, :at] = 0
        for number, segment in enumerate(row.segments, 1):
            end = at + len(segment.ids)
            ids[b, at:end] = segment.ids
            labels[b, at:end] = segment.labels
            positions[b, at:end] = len(row.prefix) + np.arange(len(segment.ids))
            segments[b, at:end] = number
            at = end
    shared = any(len(row.segments) > 1 for row in rows)
    if not shared:
        # Positions that start again would be taken for another sequence.
        positions[:] = np.arange(longest)
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(labels),
        torch.from_numpy(positions),
        _visibility(torch.from_numpy(segments)) if shared else None,
        sum(len(row.segments) for row in rows),
    )


def _visibility(segments: Tensor) -> Tensor:
    """Return bool [B, 1, L, L] from segment numbers [B, L]."""
    query, key = segments.unsqueeze(2), segments.unsqueeze(1)
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    seen = causal & ((key == 0) | (key == query))
    # Padding looks at itself alone: a row that sees nothing has no softmax.
    itself = torch.eye(length, dtype=torch.bool)
    return torch.where(query == -1, itself, seen).unsqueeze(1)
