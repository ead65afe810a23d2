"""All rows of a report: each artefact's own, and its comparison with the trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.evaluation.results.agreement import parity_of
from hydra_mobile.evaluation.results.paired import AnswerSet, compare, write_flips
from hydra_mobile.evaluation.results.rows import system_of
from hydra_mobile.evaluation.store.predictions import Evaluated
from hydra_mobile.reporting.schema import Comparison, ParityRow, SystemResult


@dataclass(frozen=True)
class Outcome:
    """The rows of the report."""

    systems: tuple[SystemResult, ...]
    parity: tuple[ParityRow, ...]
    comparisons: tuple[Comparison, ...]


def comparisons_of(done: Sequence[Evaluated], out: Path) -> Outcome:
    """Return the rows; flipped answers are written below `out`, the report's folder."""
    reference = next((e for e in done if e.role == "reference"), None)
    parity = [
        parity_of(e, reference)
        for e in done
        if reference is not None and e is not reference and e.role != "untrained"
    ]
    return Outcome(
        systems=tuple(system_of(e, reference) for e in done),
        parity=tuple(row for row in parity if row is not None),
        comparisons=tuple(_comparisons(done, reference, out)),
    )


def _comparisons(
    done: Sequence[Evaluated], reference: Evaluated | None, out: Path
) -> list[Comparison]:
    """Compare every system with the reference, benchmark by benchmark."""
    made = []
    for evaluated in done:
        if reference is None or evaluated is reference:
            continue
        for ours, theirs in zip(evaluated.answered, reference.answered, strict=True):
            if set(ours.answers) != set(theirs.answers):
                continue  # partial results of different questions cannot be subtracted
            asked = ours.job.asked
            compared = compare(
                asked.benchmark,
                asked.samples,
                AnswerSet(evaluated.sitting.artifact.name, ours.texts, ours.run.facts),
                AnswerSet(reference.sitting.artifact.name, theirs.texts, theirs.run.facts),
                partial=ours.partial,
            )
            made.append(write_flips(compared, out))
    return made
