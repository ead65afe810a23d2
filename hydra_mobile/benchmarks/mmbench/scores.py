"""MMBench's three accuracies, which are easily mixed up, and circular accuracy by category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hydra_mobile.benchmarks.base import Metric, Sample
from hydra_mobile.benchmarks.metric import share
from hydra_mobile.benchmarks.mmbench.files import ROTATION

Circle = list[Sample]


def circles(samples: Sequence[Sample]) -> list[Circle]:
    """Return the rows of each question together."""
    groups: dict[int, Circle] = {}
    for sample in samples:
        groups.setdefault(sample.meta["group"], []).append(sample)
    return list(groups.values())


#: The reading of answers of the second circular accuracy; all other numbers are read strictly.
VLMEVALKIT = "circular (VLMEvalKit exact matching)"


def circular_as_vlmevalkit(
    split: str, samples: Sequence[Sample], read: Mapping[str, str]
) -> Metric | None:
    """Return circular accuracy of answers read as VLMEvalKit reads them; see `numbers`.

    As there, a question whose first row is not in the table does not count; None without any.
    """
    groups = [
        group
        for group in circles(samples)
        if any(s.key in read for s in group) and any(int(s.key) < ROTATION for s in group)
    ]
    return _circular(split, VLMEVALKIT, groups, read) if groups else None


def numbers(
    split: str, samples: Sequence[Sample], read: Mapping[str, str], *, headline: bool
) -> list[Metric]:
    """Return all numbers of one table.

    Args:
        split: the table's name.
        samples: its rows with answers.
        read: sample key -> letter read, "" for none; rows without an answer are not in it.
        headline: whether circular accuracy is the benchmark's headline.
    """
    groups = [group for group in circles(samples) if any(s.key in read for s in group)]
    rows = [sample for sample in samples if sample.key in read]
    first = [sample for sample in rows if int(sample.key) < ROTATION]
    metrics = [_circular(split, "circular", groups, read, headline)]
    if first:
        metrics.append(_rows(split, "first pass", first, read))
    metrics.append(_rows(split, "per row", rows, read))
    for level in ("l2-category", "category"):
        by_name: dict[str, list[Circle]] = {}
        for group in groups:
            by_name.setdefault(group[0].meta[level], []).append(group)
        metrics += [
            _circular(split, f"{level}:{name}", some, read)
            for name, some in sorted(by_name.items())
            if name
        ]
    return metrics


def _circular(
    split: str,
    kind: str,
    groups: Sequence[Circle],
    read: Mapping[str, str],
    headline: bool = False,
) -> Metric:
    right = [all(read.get(s.key) == s.reference for s in group) for group in groups]
    # A letter that never changes is right in all rotations only of a question that has one row.
    constants = Counter(
        group[0].reference for group in groups if len({s.reference for s in group}) == 1
    )
    return share(
        split,
        kind,
        right,
        [group[0].cluster for group in groups],
        headline=headline,
        majority=max(constants.values(), default=0) / len(groups),
        unread=sum(read.get(s.key) == "" for group in groups for s in group),
    )


def _rows(split: str, kind: str, rows: Sequence[Sample], read: Mapping[str, str]) -> Metric:
    return share(
        split,
        kind,
        [read[sample.key] == sample.reference for sample in rows],
        [sample.cluster for sample in rows],
        majority=max(Counter(sample.reference for sample in rows).values()) / len(rows),
        unread=sum(not read[sample.key] for sample in rows),
    )
