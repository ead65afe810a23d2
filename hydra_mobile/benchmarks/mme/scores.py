"""MME's rule of reading an answer, and its points: accuracy plus accuracy+ of every subtask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hydra_mobile.benchmarks.base import Metric, Sample
from hydra_mobile.benchmarks.metric import divided, share
from hydra_mobile.benchmarks.shared.statistics import Floats

# Columns of the terms of one subtask.
_RIGHT, _QUESTIONS, _BOTH, _PICTURES = range(4)


def read_answer(answer: str) -> str:
    """Read "yes", "no" or "other" as MME's calculation.py does.

    Lower-case; exactly yes or no; else what the first four characters contain, yes before no. A
    leading space counts as a character, and "know" and "not " are "no": the official rule is kept.
    """
    said = answer.lower()
    if said in ("yes", "no"):
        return said
    start = said[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def points(
    split: str,
    kind: str,
    samples: Sequence[Sample],
    read: Sequence[str],
    *,
    headline: bool = False,
) -> Metric:
    """Return the points of the samples' subtasks together, 200 at most for each.

    Args:
        split: part of the benchmark.
        kind: what the number is called.
        samples: of one or several subtasks.
        read: "yes", "no" or "other" for each.
        headline: the benchmark's one number for tables.
    """
    subtasks = list(dict.fromkeys(sample.kind for sample in samples))

    def value(sums: Floats) -> Floats:
        table = sums.reshape(*sums.shape[:-1], len(subtasks), 4)
        accuracy = divided(table[..., _RIGHT], table[..., _QUESTIONS])
        plus = divided(table[..., _BOTH], table[..., _PICTURES])
        result: Floats = 100 * (accuracy + plus).sum(axis=-1)
        return result

    constants = [
        float(value(_terms(samples, [said] * len(samples), subtasks).sum(axis=0)))
        for said in ("yes", "no")
    ]
    return Metric(
        split,
        kind,
        _terms(samples, read, subtasks),
        [sample.cluster for sample in samples],
        # The release fixes how many pictures a subtask has; a draw must not change that.
        strata=[sample.kind for sample in samples],
        combine=value,
        unit="points",
        headline=headline,
        majority=max(constants),
        unread=sum(said == "other" for said in read),
    )


def accuracies(split: str, samples: Sequence[Sample], read: Sequence[str]) -> list[Metric]:
    """Return accuracy and accuracy+ of one subtask as shares."""
    subtask = samples[0].kind
    right = _right(samples, read)
    pairs = _pairs(samples)
    both = [float(all(right[n] for n in numbers)) for numbers in pairs]
    clusters = [sample.cluster for sample in samples]
    metrics = [share(split, f"{subtask} accuracy", right, clusters)]
    if pairs:
        pictures = [clusters[numbers[0]] for numbers in pairs]
        metrics.append(share(split, f"{subtask} accuracy+", both, pictures))
    return metrics


def _right(samples: Sequence[Sample], read: Sequence[str]) -> list[float]:
    return [float(said == sample.reference) for sample, said in zip(samples, read, strict=True)]


def _pairs(samples: Sequence[Sample]) -> list[list[int]]:
    """Return the numbers of the samples of every picture of which both questions are there."""
    pictures: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        pictures.setdefault(sample.cluster, []).append(number)
    return [numbers for numbers in pictures.values() if len(numbers) == 2]


def _terms(samples: Sequence[Sample], read: Sequence[str], subtasks: Sequence[str]) -> Floats:
    """Return float64 [n, 4 * subtasks]; a picture counts in the row of its first question."""
    terms = np.zeros((len(samples), len(subtasks), 4))
    right = _right(samples, read)
    column = [subtasks.index(sample.kind) for sample in samples]
    terms[np.arange(len(samples)), column, _RIGHT] = right
    terms[np.arange(len(samples)), column, _QUESTIONS] = 1
    for numbers in _pairs(samples):
        first = numbers[0]
        terms[first, column[first], _BOTH] = all(right[number] for number in numbers)
        terms[first, column[first], _PICTURES] = 1
    return terms.reshape(len(samples), -1)
