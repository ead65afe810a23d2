"""Which samples are asked: splits by name, and a limit that keeps the mix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from hydra_mobile.benchmarks.types import Sample
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.registry import nearest

T = TypeVar("T")


def chosen_splits(benchmark: str, splits: Sequence[str], there: Sequence[str]) -> list[str]:
    """Return the splits to read: the chosen ones, or all there are.

    Raises:
        DataError: one of them does not exist.
    """
    for split in splits:
        if split not in there:
            raise DataError(f"{benchmark} has no split `{split}`.", nearest(split, there))
    return list(splits) or list(there)


def limited(samples: Iterable[Sample], limit: int | None) -> list[Sample]:
    """Keep about `limit` samples, evenly spread, all questions of a cluster or none.

    At most `limit`, except that one cluster is always kept.
    """
    everything = list(samples)
    if limit is None or limit >= len(everything):
        return everything
    clusters: dict[str, list[Sample]] = {}
    for sample in everything:
        clusters.setdefault(sample.cluster, []).append(sample)
    groups = list(clusters.values())
    wanted = max(1, round(limit * len(groups) / len(everything)))
    while wanted > 1 and sum(map(len, spread(groups, wanted))) > limit:
        wanted -= 1
    kept = {sample.key for group in spread(groups, wanted) for sample in group}
    return [sample for sample in everything if sample.key in kept]


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return `count` of the items, evenly spread and in order; all where they are no more."""
    if len(items) <= count:
        return list(items)
    return [items[number * len(items) // count] for number in range(count)]
