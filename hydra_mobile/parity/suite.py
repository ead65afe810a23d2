"""The parity ladder: adapter = merged = program = quantized (= device), rung by rung.

Each form is loaded once, compared with the one below it, and then becomes the witness of the next,
so that no more than one model is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError, ParityError
from hydra_mobile.parity.comparison import Comparison, compare
from hydra_mobile.parity.reference import Case, golden_cases, observe
from hydra_mobile.parity.stages import Stage, bundle_stage, device_stage, torch_stages
from hydra_mobile.parity.task_score import Slice
from hydra_mobile.reporting.schema import ParityRow
from hydra_mobile.runtimes.base import Runtime

SCHEMA = 1
Log = Callable[[str], None]


@dataclass(frozen=True)
class ParityResult:
    """All rungs that were climbed, from the adapter up."""

    bundle: str
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Whether every rung holds."""
        return all(rung.passed for rung in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """Return the ladder as JSON values."""
        return {
            "schema": SCHEMA,
            "bundle": self.bundle,
            "passed": self.passed,
            "rungs": [rung.to_dict() for rung in self.comparisons],
        }

    def rows(self) -> tuple[ParityRow, ...]:
        """Return a row of the report for each rung."""
        return tuple(rung.row() for rung in self.comparisons)

    def table(self) -> str:
        """Return the ladder for the terminal."""
        return "\n\n".join(rung.table() for rung in self.comparisons)

    def require(self) -> None:
        """Raise unless every rung holds.

        Raises:
            ParityError: names the rungs and the parts that broke, and every difference.
        """
        broken = [rung for rung in self.comparisons if not rung.passed]
        if broken:
            raise ParityError(
                " ".join(
                    f"Rung `{rung.name}` does not hold"
                    + (f", broken at {', '.join(rung.broken)}" if rung.broken else "")
                    + f": {' '.join(rung.failures)}"
                    for rung in broken
                ),
                "Make the later form of that rung again from the earlier one; the rungs that hold "
                "need nothing.",
            )


def run_suite(
    folder: Path,
    *,
    adapter: Path | None = None,
    merged: Path | None = None,
    program: Path | None = None,
    device: Runtime | None = None,
    questions: Slice | None = None,
    log: Log = lambda _: None,
) -> ParityResult:
    """Compare all forms that are given, on the golden pictures of the bundle.

    Args:
        folder: the bundle; its hashes are checked first.
        adapter: run or adapter folder, unmerged; needs `merged`, or a run with `merged/` inside.
        merged: the merged folder that the bundle was exported from. Without it the golden vectors
            are its witness.
        program: a lossless bundle of the same merged model, as a rung of its own between the
            merged model and a quantized bundle.
        device: a runner of the bundle on a device; the last rung.
        questions: a slice of a benchmark that every form answers as well; needs two forms.
        log: gets a line now and then.

    Raises:
        ArtifactError: a folder is incomplete, altered, or belongs to another model.
        HydraError: what was given makes no ladder.
    """
    folder = Path(folder)
    bundle = Bundle.open(folder)
    golden = golden_cases(bundle)
    stages = torch_stages(adapter, merged, bundle)
    if program is not None:
        stages.append(bundle_stage(program, of=bundle))
    stages.append(bundle_stage(folder))
    if device is not None:
        stages.append(device_stage(device, bundle))
    if len(stages) == 1 and questions is not None:
        raise HydraError(
            "A change of score needs two forms of the model; only a bundle was given.",
            "Give the merged folder as well, or the run.",
        )
    return ParityResult(str(folder), tuple(_rungs(stages, golden, questions, log)))


def _rungs(
    stages: Sequence[Stage], golden: Sequence[Case], questions: Slice | None, log: Log
) -> list[Comparison]:
    pictures = [(case.image, case.question) for case in golden]
    rungs: list[Comparison] = []
    # The golden vectors are the merged model's own, so they stand for it where it is not given.
    below: str = "merged (golden vectors)"
    witness: Sequence[Case] = golden if stages[0].exported else ()
    told: list[str] | None = None
    for number, stage in enumerate(stages, 1):
        log(f"loading {stage.name}")
        runner = stage.load()
        answers = questions.answers(runner) if questions else None
        if witness:
            rung = compare(f"{below} → {stage.name}", runner, witness, stage.tolerance, log)
            if questions and told is not None and answers is not None:
                score = questions.change(told, answers, stage.tolerance)
                said = [f"Score: {score.note}."] if score.note else []
                rung = replace(rung, score=score, failures=[*rung.failures, *said])
            rungs.append(rung)
        if number < len(stages):
            witness = observe(runner, pictures)
        below, told = stage.name, answers
        del runner  # before the next one is loaded
    return rungs
