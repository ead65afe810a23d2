"""GQA's rule of reading an answer, its breakdowns, and the distribution of the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hydra_mobile.benchmarks.base import Metric, Sample
from hydra_mobile.benchmarks.metric import share


def read_answer(text: str) -> str:
    """Read an answer as LLaVA's conversion does: no full stops at the end, lower-case, no more."""
    return text.rstrip(".").lower()


def accuracies(
    split: str, samples: Sequence[Sample], right: Mapping[str, float], *, headline: bool = False
) -> list[Metric]:
    """Return the accuracy of all, binary and open, and by type, steps and words.

    Args:
        split: what the parts are of.
        samples: whose `kind` is the structural type.
        right: sample key -> 0 or 1.
        headline: whether that of all is the benchmark's one number for tables.
    """
    parts: dict[str, list[Sample]] = {"all": list(samples), "binary": [], "open": []}
    for sample in samples:
        if sample.kind:
            parts["open" if sample.kind == "query" else "binary"].append(sample)
    for name in ("structural", "semantic", "steps", "words"):
        values = [sample.kind if name == "structural" else sample.meta[name] for sample in samples]
        for value in sorted({value for value in values if value not in (None, "")}):
            chosen = [s for s, own in zip(samples, values, strict=True) if own == value]
            parts[f"{name}:{value}"] = chosen
    return [
        share(
            split,
            kind,
            [right[sample.key] for sample in chosen],
            [sample.cluster for sample in chosen],
            headline=headline and kind == "all",
            majority=Counter(s.reference for s in chosen).most_common(1)[0][1] / len(chosen),
        )
        for kind, chosen in parts.items()
        if chosen
    ]


def distribution(samples: Sequence[Sample], answers: Mapping[str, str]) -> float | None:
    """Return the chi-square of predicted against true answers, averaged over the global groups.

    Each group counts with its number of questions; questions without a group are left out.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.meta["group"] is not None:
            groups.setdefault(sample.meta["group"], []).append(sample)
    total = 0.0
    for chosen in groups.values():
        true = Counter(sample.reference for sample in chosen)
        said = Counter(read_answer(answers[sample.key]) for sample in chosen)
        total += len(chosen) * sum((said[a] - count) ** 2 / count for a, count in true.items())
    questions = sum(map(len, groups.values()))
    return total / questions if questions else None
