"""Sequences taken out of the caches of several batches into one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from hydra_mobile.models.rows import GrowingCache


def cache_tensors(cache: Any) -> Iterator[Tensor]:
    """Yield what a cache holds."""
    if isinstance(cache, GrowingCache):
        yield from cache.buffers.values()
        return
    for layer in cache.layers:
        yield layer.keys
        yield layer.values


def joined_rows(rows: Sequence[tuple[Any, int]], length: int) -> DynamicCache | GrowingCache:
    """Return a cache with copies of sequences of others.

    Args:
        rows: cache and sequence in its batch; of one model.
        length: tokens of each sequence.
    """
    first = rows[0][0]
    if isinstance(first, GrowingCache):
        buffers = {
            name: torch.cat([cache.buffers[name][row, None, :, :length] for cache, row in rows])
            for name in first.buffers
        }
        joined = GrowingCache(first.layers, buffers, first.kernel)
        joined.length = length
        return joined
    found = DynamicCache()
    for index in range(len(first.layers)):
        keys, values = (
            torch.cat([getattr(c.layers[index], part)[row, None, :, :length] for c, row in rows])
            for part in ("keys", "values")
        )
        found.update(keys, values, index)
    return found
