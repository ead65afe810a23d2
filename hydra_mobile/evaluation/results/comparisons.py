"""All rows of a report: each artifact's own, and its comparison with the trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.evaluation.results.agreement import parity_of
from hydra_mobile.evaluation.results.paired import AnswerSet, compare, write_flips
from hydra_mobile.evaluation.results.questions import questions_of
from hydra_mobile.evaluation.results.rows import system_of
from hydra_mobile.evaluation.store.predictions import ArtifactResults
from hydra_mobile.reporting.evidence import QuestionSection
from hydra_mobile.reporting.results import Comparison, SystemResult
from hydra_mobile.reporting.schema import ParityRow


@dataclass(frozen=True)
class Results:
    """The rows of the report."""

    systems: tuple[SystemResult, ...]
    parity: tuple[ParityRow, ...]
    comparisons: tuple[Comparison, ...]
    questions: QuestionSection | None


def comparisons_of(done: Sequence[ArtifactResults], out: Path) -> Results:
    """Return the rows; flipped answers are written below `out`, the report's folder."""
    reference = next((e for e in done if e.role == "reference"), None)
    parity = [
        parity_of(e, reference)
        for e in done
        if reference is not None and e is not reference and e.role != "untrained"
    ]
    return Results(
        systems=tuple(system_of(e, reference) for e in done),
        parity=tuple(row for row in parity if row is not None),
        comparisons=tuple(_comparisons(done, reference, out)),
        questions=questions_of(done, reference),
    )


def _comparisons(
    done: Sequence[ArtifactResults], reference: ArtifactResults | None, out: Path
) -> list[Comparison]:
    """Compare every system with the reference, benchmark by benchmark."""
    made = []
    for results in done:
        if reference is None or results is reference:
            continue
        for ours, theirs in zip(results.predictions, reference.predictions, strict=True):
            if set(ours.lines) != set(theirs.lines):
                continue  # partial results of different questions cannot be subtracted
            spec = ours.task.spec
            compared = compare(
                spec.benchmark,
                spec.samples,
                AnswerSet(results.name, ours.texts, ours.run.facts),
                AnswerSet(reference.name, theirs.texts, theirs.run.facts),
                partial=ours.partial,
            )
            made.append(write_flips(compared, out))
    return made
