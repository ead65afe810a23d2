"""Two systems on the same questions: what each number changed by, and which answers flipped.

Every number of the benchmark is resampled with the same draws for both, so that the interval is of
the difference and not of two scores that share their questions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.base import Benchmark, Sample
from hydra_mobile.benchmarks.metric import Metric, paired
from hydra_mobile.benchmarks.shared.subset import spread
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.typed import encode
from hydra_mobile.reporting.results import Comparison, FlippedAnswer, ScoreChange

FLIPS = "flips"
#: Flipped answers that the report itself shows; the file holds them all.
_SHOWN = 12
_NAMED = 3


@dataclass(frozen=True)
class AnswerSet:
    """One system's answers to one benchmark.

    Attributes:
        name: the system's, as the report calls it.
        texts: sample key -> the answer.
        facts: the protocol, from `Benchmark.protocol_facts`; empty if
            unknown.
    """

    name: str
    texts: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """A comparison with all its flipped answers.

    Attributes:
        comparison: for the report; holds some of the flips.
        flips: all of them, in the order of the questions.
    """

    comparison: Comparison
    flips: tuple[FlippedAnswer, ...]


def compare(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    system: AnswerSet,
    reference: AnswerSet,
    *,
    partial: bool = False,
) -> Compared:
    """Compare `system` with `reference`, question by question.

    Args:
        benchmark: whose rules read the answers of both.
        samples: the questions of both.
        system: the one.
        reference: the other, which is subtracted.
        partial: whether questions may be without an answer, the same ones in both.

    Raises:
        DataError: the two did not answer the same questions, or not those of `samples`.
    """
    require_same_questions(benchmark.name, system, reference)
    if partial:
        samples = [sample for sample in samples if sample.key in system.texts]
    ours = benchmark.metrics(samples, system.texts, partial=partial)
    theirs = benchmark.metrics(samples, reference.texts, partial=partial)
    # A test split has no right answers: then there is no number, and no answer is better.
    flips = tuple(_flips(benchmark, samples, system.texts, reference.texts)) if ours else ()
    comparison = Comparison(
        benchmark=benchmark.name,
        system=system.name,
        reference=reference.name,
        n=len(samples),
        same=sum(system.texts[s.key] == reference.texts[s.key] for s in samples),
        gained=sum(flip.credit > flip.reference_credit for flip in flips),
        lost=sum(flip.credit < flip.reference_credit for flip in flips),
        changes=tuple(_changes(ours, theirs)),
        flips=_few_flips(flips),
        warnings=protocol_warnings(system.facts, reference.facts),
    )
    return Compared(comparison, flips)


def require_same_questions(benchmark: str, system: AnswerSet, reference: AnswerSet) -> None:
    """Raise unless both answered the same questions.

    Raises:
        DataError: counts and names those that only one answered.
    """
    problems = []
    for one, other in ((system, reference), (reference, system)):
        alone = [key for key in one.texts if key not in other.texts]
        if alone:
            named = ", ".join(alone[:_NAMED]) + (", ..." if len(alone) > _NAMED else "")
            problems.append(f"{len(alone)} only by {one.name} ({named})")
    if problems:
        raise DataError(
            f"{benchmark}: {system.name} and {reference.name} answered different questions: "
            f"{'; '.join(problems)}; {len(system.texts)} and {len(reference.texts)} answers.",
            "Only scores on the same questions can be subtracted: evaluate both with the same "
            "data, splits and limit.",
        )


def protocol_warnings(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence for each fact that the two protocols disagree about.

    Where one of them is not known at all, that is the warning.
    """
    if bool(ours) != bool(theirs):
        return ("the protocol of one of the two was not recorded",)
    return tuple(
        f"{name.replace('_', ' ')} {_shown(ours, name)} against {_shown(theirs, name)}"
        for name in dict.fromkeys((*ours, *theirs))
        if ours.get(name) != theirs.get(name)
    )


def _shown(facts: Mapping[str, Any], name: str) -> str:
    if name not in facts:
        return "unknown"
    value = facts[name]
    return value if isinstance(value, str) else dumps(value, ensure_ascii=False)


def samples_digest(samples: Iterable[Sample]) -> str:
    """Return a digest of the questions' keys in any order: equal digests, same questions."""
    keys = "\n".join(sorted(sample.key for sample in samples))
    return hashlib.sha256(keys.encode()).hexdigest()[:16]


def write_flips(compared: Compared, folder: Path) -> Comparison:
    """Write all flips as JSON lines into `folder`/flips; return the comparison that names the file.

    Args:
        compared: from `compare`.
        folder: the report's.
    """
    comparison = compared.comparison
    pair = f"{comparison.benchmark}-{comparison.system}-against-{comparison.reference}"
    name = f"{FLIPS}/{re.sub(r'[^a-zA-Z0-9.]+', '-', pair).strip('-').lower()}.jsonl"
    lines = [dumps(encode(flip), ensure_ascii=False) + "\n" for flip in compared.flips]
    with write_atomically(folder / name) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    return dataclasses.replace(comparison, flips_file=name)


def _changes(ours: Sequence[Metric], theirs: Sequence[Metric]) -> Iterable[ScoreChange]:
    # A number that only one of them has (a kind of unread answer, say) cannot be subtracted.
    by_place = {(metric.split, metric.kind): metric for metric in theirs}
    for metric in ours:
        other = by_place.get((metric.split, metric.kind))
        if other is None:
            continue
        found = paired(metric, other)
        yield ScoreChange(
            split=metric.split,
            kind=metric.kind,
            change=found.value,
            low=found.low,
            high=found.high,
            p=found.p,
            unit=metric.unit,
            headline=metric.headline,
        )


def _flips(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    ours: Mapping[str, str],
    theirs: Mapping[str, str],
) -> Iterable[FlippedAnswer]:
    for sample in samples:
        one, other = ours[sample.key], theirs[sample.key]
        if one == other:
            continue
        credit, reference_credit = benchmark.credit(sample, one), benchmark.credit(sample, other)
        if credit != reference_credit:
            yield FlippedAnswer(
                key=sample.key,
                split=sample.split,
                kind=sample.kind,
                question=sample.question,
                expected=sample.reference,
                answer=one,
                reference_answer=other,
                credit=credit,
                reference_credit=reference_credit,
            )


def _few_flips(flips: Sequence[FlippedAnswer]) -> tuple[FlippedAnswer, ...]:
    """Return a few flips spread over all of them, the lost ones at least half if there are any."""
    lost = [flip for flip in flips if flip.credit < flip.reference_credit]
    gained = [flip for flip in flips if flip.credit > flip.reference_credit]
    few_gained = spread(gained, max(_SHOWN // 2, _SHOWN - len(lost)))
    few_lost = spread(lost, _SHOWN - len(few_gained))
    return (*few_lost, *few_gained)
