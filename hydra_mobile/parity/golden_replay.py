"""Verify: does an exported bundle answer as the merged model did?

Replays the bundle's golden vectors through the runner that the manifest names: every part by
itself, fed what the merged model's parts computed, then all of them from picture to answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.tolerance import (
    FP32_TOLERANCE,
    PIXEL_TOLERANCE,
    QUANTIZED_TOLERANCE,
    Tolerance,
    tolerance_of,
)
from hydra_mobile.core.errors import ParityError
from hydra_mobile.parity.comparison import agreement_of, compare, part_lines
from hydra_mobile.parity.components import PartResult
from hydra_mobile.parity.end_to_end import CaseResult
from hydra_mobile.parity.reference import golden_cases
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.base import Runtime

__all__ = [
    "FP32_TOLERANCE",
    "PIXEL_TOLERANCE",
    "QUANTIZED_TOLERANCE",
    "CaseResult",
    "Tolerance",
    "VerifyResult",
    "tolerance_of",
    "verify",
]


@dataclass(frozen=True)
class VerifyResult:
    """The outcome of all cases; `failures` is empty when the bundle agrees."""

    bundle: str
    runtime: str
    preset: str
    tolerance: Tolerance
    cases: list[CaseResult]
    failures: list[str] = field(default_factory=list)
    parts: tuple[PartResult, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything lies within the tolerance."""
        return not self.failures

    @property
    def agreement(self) -> float:
        """Share of greedy tokens that agree."""
        return agreement_of(self.cases)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self) | {
            "tolerance": self.tolerance.to_dict(),
            "parts": [part.to_dict() for part in self.parts],
            "passed": self.passed,
            "agreement": self.agreement,
        }

    def table(self) -> str:
        """Return a table for the terminal, one line for each case and one for each part."""
        head = (
            f"{'case':>4}  {'pixels':>8}  {'prompt':>6}  {'image cos':>10}  {'logits max':>10}  "
            f"{'mean':>8}  {'cosine':>9}  {'top-1':>5}  {'greedy ids':>14}"
        )
        lines = [f"{self.runtime} {self.preset}: {self.bundle}", head]
        for index, case in enumerate(self.cases):
            same = f"{case.agreeing}/{case.tokens} ({case.leading} first)"
            lines.append(
                f"{index:>4}  {case.pixel_difference:>8.1e}  {_mark(case.prompt_equal):>6}  "
                f"{case.image_cosine:>10.6f}  {case.logits_difference:>10.2e}  "
                f"{case.logits_mean_difference:>8.1e}  {case.logits_cosine:>9.6f}  "
                f"{_mark(case.top1_equal):>5}  {same:>14}"
            )
        lines += part_lines(self.parts)
        lines += [f"FAILED {failure}" for failure in self.failures]
        if self.passed:
            lines.append(f"agrees with the merged model ({self.agreement:.0%} of greedy tokens)")
        return "\n".join(lines)

    def require(self) -> None:
        """Raise unless the bundle agrees.

        Raises:
            ParityError: with every difference that is too large.
        """
        if self.failures:
            raise ParityError(
                f"{self.bundle} does not answer as the merged model: " + " ".join(self.failures),
                "Export it again; if it stays, compare the versions in its manifest.",
            )


def verify(
    folder: Path, *, log: Callable[[str], None] = lambda _: None, runner: Runtime | None = None
) -> VerifyResult:
    """Replay the golden vectors of the bundle at `folder`.

    Args:
        folder: the bundle; its hashes are checked first.
        log: gets one line for each case.
        runner: a loaded runner of this bundle, to save loading it again.

    Returns:
        The result, passed or not; `result.require()` turns a failure into an error.

    Raises:
        ArtifactError: the bundle is incomplete or altered, or holds no golden vectors.
    """
    folder = Path(folder)
    bundle = Bundle.open(folder, verify_hashes=runner is None)
    cases = golden_cases(bundle)
    if runner is None:
        runner = runtime_class(bundle.runtime).load(folder)
    tolerance = tolerance_of(bundle.manifest["preset"])
    rung = compare(f"golden → {bundle.runtime}", runner, cases, tolerance, log)
    return VerifyResult(
        str(folder),
        bundle.runtime,
        bundle.preset.name,
        tolerance,
        rung.cases,
        rung.failures,
        rung.parts,
    )


def _mark(value: bool) -> str:
    return "yes" if value else "NO"
