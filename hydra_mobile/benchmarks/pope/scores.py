"""POPE's rule of reading yes or no, and its numbers: F1 and what belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hydra_mobile.benchmarks.base import Metric, Sample
from hydra_mobile.benchmarks.metric import divided
from hydra_mobile.benchmarks.shared.statistics import Floats

Combine = Callable[[Floats], Floats]

#: Columns of the terms of one split.
NAMES = ("TP", "FP", "TN", "FN")
_TP, _FP, _TN, _FN = range(4)


def read_yesno(answer: str) -> str:
    """Read "yes" or "no" as POPE's evaluate.py does: no unless one of three words says so is yes.

    The text before the first full stop, commas deleted, split on single spaces; "no" if a word is
    `No`, `not` or `no`, else "yes". Case-sensitive, and an empty answer is "yes": the official
    rule is kept so that numbers compare.
    """
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def counts(samples: Sequence[Sample], read: Sequence[str]) -> Floats:
    """Return float64 [n, 4]: one 1 a row, in the column of TP, FP, TN or FN."""
    columns = {("yes", "yes"): _TP, ("yes", "no"): _FP, ("no", "no"): _TN, ("no", "yes"): _FN}
    index = [columns[said, sample.reference] for said, sample in zip(read, samples, strict=True)]
    return np.eye(4)[index]


def accuracy(sums: Floats) -> Floats:
    """Share of right answers: [..., 4] -> [...]."""
    return divided(sums[..., _TP] + sums[..., _TN], sums.sum(axis=-1))


def _precision(sums: Floats) -> Floats:
    return divided(sums[..., _TP], sums[..., _TP] + sums[..., _FP])


def _recall(sums: Floats) -> Floats:
    return divided(sums[..., _TP], sums[..., _TP] + sums[..., _FN])


def f1(sums: Floats) -> Floats:
    """F1, 0 where nothing is called yes: the official code divides by zero there."""
    return divided(2 * sums[..., _TP], 2 * sums[..., _TP] + sums[..., _FP] + sums[..., _FN])


def _yes_ratio(sums: Floats) -> Floats:
    return divided(sums[..., _TP] + sums[..., _FP], sums.sum(axis=-1))


def _constant(samples: Sequence[Sample], combine: Combine) -> float:
    """Return what the better of "always yes" and "always no" reaches."""
    return max(
        float(combine(counts(samples, [said] * len(samples)).sum(axis=0))) for said in ("yes", "no")
    )


def five(split: str, samples: Sequence[Sample], read: Sequence[str]) -> list[Metric]:
    """Return F1, accuracy, precision, recall and yes ratio of samples read as yes or no."""
    terms, clusters = counts(samples, read), [sample.cluster for sample in samples]
    parts: dict[str, tuple[Combine, bool]] = {
        "f1": (f1, True),
        "accuracy": (accuracy, True),
        "precision": (_precision, False),
        "recall": (_recall, False),
        "yes ratio": (_yes_ratio, False),
    }
    return [
        Metric(
            split,
            kind,
            terms,
            clusters,
            combine=combine,
            majority=_constant(samples, combine) if compared else None,
        )
        for kind, (combine, compared) in parts.items()
    ]


def mean_over_splits(
    samples: Sequence[Sample],
    read: Sequence[str],
    splits: Sequence[str],
    kind: str,
    combine: Combine,
    *,
    headline: bool = False,
) -> Metric:
    """Return the unweighted mean of a number over the splits.

    Args:
        samples: of all splits.
        read: "yes" or "no" for each.
        splits: in the order of the mean's columns; every split has its own four.
        kind: what the number is called.
        combine: [..., 4] counts -> [...] values.
        headline: the benchmark's one number for tables.
    """
    place = [splits.index(sample.split) for sample in samples]

    def terms(read: Sequence[str]) -> Floats:
        wide = np.zeros((len(samples), len(splits), 4))
        wide[np.arange(len(samples)), place] = counts(samples, read)
        return wide.reshape(len(samples), -1)

    def mean(sums: Floats) -> Floats:
        result: Floats = combine(sums.reshape(*sums.shape[:-1], len(splits), 4)).mean(axis=-1)
        return result

    constants = [float(mean(terms([said] * len(samples)).sum(axis=0))) for said in ("yes", "no")]
    return Metric(
        "all",
        kind,
        terms(read),
        [sample.cluster for sample in samples],
        combine=mean,
        headline=headline,
        majority=max(constants),
    )
