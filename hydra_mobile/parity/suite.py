"""The parity suite: adapter = merged = program = quantized (= device), one comparison per step.

Each model is loaded once, compared with the one before it, and then gives the reference outputs of
the next, so that no more than one model is in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError, ParityError
from hydra_mobile.core.progress import Log, silent
from hydra_mobile.parity.comparison import Comparison, compare
from hydra_mobile.parity.reference import ReferenceOutputs, golden_outputs, record
from hydra_mobile.parity.stages import Stage, bundle_stage, device_stage, torch_stages
from hydra_mobile.parity.task_score import TaskSubset
from hydra_mobile.reporting.notebook import html_table
from hydra_mobile.reporting.schema import ParityRow
from hydra_mobile.runtimes.base import Runtime

SCHEMA = 1


@dataclass(frozen=True)
class ParityResult:
    """All comparisons, from the adapter on.

    Attributes:
        bundle: its folder.
        comparisons: one for each step, at least one.
    """

    bundle: str
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Whether every comparison passes."""
        return all(each.passed for each in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "schema": SCHEMA,
            "bundle": self.bundle,
            "passed": self.passed,
            "rungs": [each.to_dict() for each in self.comparisons],
        }

    def rows(self) -> tuple[ParityRow, ...]:
        """Return a row of the report for each comparison."""
        return tuple(each.row() for each in self.comparisons)

    def table(self) -> str:
        """Return the result for the terminal."""
        return "\n\n".join(each.table() for each in self.comparisons)

    @property
    def path(self) -> Path:
        """The bundle that was checked."""
        return Path(self.bundle)

    def _repr_html_(self) -> str:
        rows = (
            (row.rung, row.verdict, f"{row.max_abs:.1e}", f"{row.greedy_match:.0%}")
            for row in self.rows()
        )
        return html_table(("comparison", "verdict", "max. difference", "same answers"), rows)

    def require(self) -> None:
        """Raise unless every comparison passes.

        Raises:
            ParityError: names the steps and the parts that fail, and every difference.
        """
        failed = [each for each in self.comparisons if not each.passed]
        if failed:
            raise ParityError(
                " ".join(
                    f"Step `{each.name}` fails"
                    + (f", first difference in {', '.join(each.broken)}" if each.broken else "")
                    + f": {' '.join(each.failures)}"
                    for each in failed
                ),
                "Make the later model of that step again from the earlier one.",
            )


def run_suite(
    bundle: Bundle | Path,
    *,
    adapter: Path | None = None,
    merged: Path | None = None,
    program: Bundle | Path | None = None,
    device: Runtime | None = None,
    questions: TaskSubset | None = None,
    log: Log = silent,
) -> ParityResult:
    """Compare all models that are given, on the golden pictures of the bundle.

    Args:
        bundle: opened, or its folder, whose hashes are then checked first.
        adapter: run or adapter folder, unmerged; needs `merged`, or a run with `merged/` inside.
        merged: the merged model that the bundle was exported from. Without it the golden outputs
            are the reference.
        program: a lossless bundle of the same merged model, a step between the merged model and a
            quantized bundle.
        device: a runtime of the bundle on a device; the last step.
        questions: a subset of a benchmark that every model answers too; needs two models.
        log: receives a line for each step.

    Raises:
        ArtifactError: a folder is incomplete, altered, or belongs to another model.
        HydraError: what was given makes no chain.
    """
    opened = Bundle.open(bundle, again=True)
    golden = golden_outputs(opened)
    stages = torch_stages(adapter, merged, opened)
    if program is not None:
        stages.append(bundle_stage(Bundle.open(program, again=True), of=opened))
    stages.append(bundle_stage(opened))
    if device is not None:
        stages.append(device_stage(device, opened))
    if len(stages) == 1 and questions is not None:
        raise HydraError(
            "A change of score needs two models; only a bundle was given.",
            "Give the merged model as well, or the run.",
        )
    return ParityResult(str(opened.folder), tuple(_compared(stages, golden, questions, log)))


def _compared(
    stages: Sequence[Stage],
    golden: Sequence[ReferenceOutputs],
    questions: TaskSubset | None,
    log: Log,
) -> list[Comparison]:
    pictures = [(case.image, case.question) for case in golden]
    comparisons: list[Comparison] = []
    # The golden outputs are the merged model's own: they replace it where it is not given.
    earlier = "merged (golden vectors)"
    reference: Sequence[ReferenceOutputs] = golden if stages[0].exported else ()
    before: Mapping[str, str] | None = None
    for number, stage in enumerate(stages, 1):
        log(f"loading {stage.name}")
        runtime = stage.load()
        answers = questions.answers(runtime) if questions else None
        if reference:
            step = f"{earlier} → {stage.name}"
            found = compare(step, runtime, reference, stage.tolerance, log)
            if questions and before is not None and answers is not None:
                score = questions.change(before, answers, stage.tolerance)
                notes = [f"Score: {score.note}."] if score.note else []
                found = replace(found, score=score, failures=[*found.failures, *notes])
            comparisons.append(found)
        if number < len(stages):
            reference = record(runtime, pictures)
        earlier, before = stage.name, answers
        del runtime  # before the next one is loaded
    return comparisons
