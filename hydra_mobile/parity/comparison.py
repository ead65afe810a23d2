"""Two models compared: the verdict as text, JSON and a row of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hydra_mobile.bundle.tolerance import Tolerance
from hydra_mobile.core.progress import Log, silent
from hydra_mobile.parity.components import PartResult, compare_parts, whole_part
from hydra_mobile.parity.end_to_end import CaseResult, case_failures, replay
from hydra_mobile.parity.reference import ReferenceOutputs
from hydra_mobile.parity.task_score import ScoreChange
from hydra_mobile.reporting.schema import ParityPart, ParityRow, ParityScore
from hydra_mobile.runtimes.base import Runtime

_HEAD = f"  {'part':<14}{'verdict':<8}{'max':>9}{'mean':>9}{'cosine':>10}{'top-1':>7}{'greedy':>12}"


@dataclass(frozen=True)
class Comparison:
    """How a later form compares with an earlier one.

    Attributes:
        name: for example "merged → ExecuTorch fp32".
        tolerance: that it was held to.
        parts: each part by itself, then `whole`.
        cases: from picture to answer, one by one.
        score: change of the task's score; None when no benchmark was given.
        failures: a sentence for everything out of tolerance.
    """

    name: str
    tolerance: Tolerance
    parts: tuple[PartResult, ...]
    cases: list[CaseResult]
    score: ScoreChange | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether everything lies within the tolerance."""
        return not self.failures

    @property
    def agreement(self) -> float:
        """Share of greedy tokens that agree, over all cases."""
        return agreement_of(self.cases)

    @property
    def broken(self) -> tuple[str, ...]:
        """The parts that fail by themselves; what only follows from them is left out."""
        return tuple(p.part for p in self.parts if p.status == "fail" and p.part != "whole")

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {
            "rung": self.name,
            "passed": self.passed,
            "broken": list(self.broken),
            "tolerance": self.tolerance.to_dict(),
            "parts": [part.to_dict() for part in self.parts],
            "cases": [asdict(case) for case in self.cases],
            "score": self.score.to_dict() if self.score else None,
            "failures": list(self.failures),
        }

    def table(self) -> str:
        """Return a table for the terminal, one line for each part."""
        lines = [f"{self.name}: {'pass' if self.passed else 'FAIL'}", *part_lines(self.parts)]
        if self.score:
            s = self.score
            lines.append(
                f"  {'score':<14}{'FAIL' if s.note else 'pass':<8}{s.benchmark}, {s.n} questions: "
                f"{100 * s.before:.1f}% to {100 * s.after:.1f}%, change {100 * s.change:+.1f} "
                f"({100 * s.low:+.1f} to {100 * s.high:+.1f}), {s.same:.1%} identical answers"
            )
        return "\n".join([*lines, *(f"  FAILED {failure}" for failure in self.failures)])

    def row(self) -> ParityRow:
        """Return the comparison as a row of the report."""
        whole = next(part for part in self.parts if part.part == "whole")
        same = sum(case.leading == case.tokens for case in self.cases) / len(self.cases)
        score = None
        if self.score:
            s = self.score
            score = ParityScore(s.benchmark, s.n, s.change, s.low, s.high, s.same)
        return ParityRow(
            rung=self.name,
            max_abs=whole.max_abs,
            mean_abs=whole.mean_abs,
            cosine=whole.cosine,
            top1_agreement=whole.top1,
            greedy_match=same,
            tolerance=self.tolerance.to_dict()["logits"],
            verdict="pass" if self.passed else "fail",
            greedy_length=whole.greedy,
            parts=tuple(
                ParityPart(
                    p.part, p.status, p.max_abs, p.mean_abs, p.cosine, p.top1, p.greedy, p.note
                )
                for p in self.parts
                if p.part != "whole"
            ),
            score=score,
        )


def compare(
    name: str,
    runtime: Runtime,
    cases: Sequence[ReferenceOutputs],
    tolerance: Tolerance,
    log: Log = silent,
) -> Comparison:
    """Compare a runtime with the reference outputs, part by part and as a whole.

    Args:
        name: of the step, for example "merged → ExecuTorch fp32".
        runtime: of the later form.
        cases: of the earlier form, at least one.
        tolerance: of the later form.
        log: receives a line for each case.

    Raises:
        ParityError: logits of another shape.
    """
    results, failures = [], []
    for index, case in enumerate(cases):
        result = replay(runtime, case, index, tolerance)
        question = " ".join(case.question.split())[:60]
        log(f"case {index}: {result.agreeing}/{result.tokens} tokens, `{question}`")
        failures += [f"Case {index}: {what}" for what in case_failures(result, tolerance)]
        results.append(result)
    agreement = agreement_of(results)
    if agreement < tolerance.agreement:
        failures.append(
            f"{agreement:.1%} of the greedy tokens agree, "
            f"at least {tolerance.agreement:.0%} must."
        )  # fmt: skip
    whole = whole_part(results, failures, agreement)
    parts = (*compare_parts(runtime, cases, tolerance), whole)
    failures += [
        f"Part `{part.part}`: {part.note}."
        for part in parts
        if part.status == "fail" and part is not whole
    ]
    return Comparison(name, tolerance, parts, results, failures=failures)


def agreement_of(cases: Sequence[CaseResult]) -> float:
    """Return the share of greedy tokens that agree, over all cases."""
    return sum(case.agreeing for case in cases) / max(1, sum(case.tokens for case in cases))


def part_lines(parts: Sequence[PartResult]) -> list[str]:
    """Return the parts as lines of a table for the terminal, its head first."""
    return [_HEAD, *(_part_line(part) for part in parts)]


def _part_line(part: PartResult) -> str:
    if part.status == "absent":
        return f"  {part.part:<14}{'absent':<8}{part.note}"
    greedy = "-" if part.greedy is None else f"{part.greedy:.1f}/{part.tokens:.1f}"
    return (
        f"  {part.part:<14}{'FAIL' if part.status == 'fail' else 'pass':<8}"
        f"{_number(part.max_abs, '.1e'):>9}{_number(part.mean_abs, '.1e'):>9}"
        f"{_number(part.cosine, '.6f'):>10}{_number(part.top1, '.0%'):>7}{greedy:>12}"
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
