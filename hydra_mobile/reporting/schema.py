"""The one report: what was trained, exported and measured, as frozen dataclasses.

Markdown, HTML, the terminal table and the pictures are all rendered from a `Report`, and host and
device write the same one. `None` always means "not measured" and is never written as 0; the reason
goes into `SystemResult.reasons`.

Units: seconds, bytes, tokens per second; scores, shares and agreement in [0, 1], except scores
whose unit is "points".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.typed import decode, encode
from hydra_mobile.reporting.evidence import QuestionSection
from hydra_mobile.reporting.results import (
    Comparison,
    Environment,
    SystemResult,
)
from hydra_mobile.reporting.training_section import (
    TrainingSection,
)

REPORT_SCHEMA = 1

_ALTERED = "The report was altered, or written by another version; evaluate again to make it anew."


Verdict = Literal["pass", "fail", "not gated"]


@dataclass(frozen=True)
class ParityPart:
    """One part of the model in a comparison, fed what the earlier form's parts computed.

    Attributes:
        part: "preprocessing", "prompt", "vision", "projector", "decoder" or "greedy".
        verdict: "absent" where it could not be compared by itself.
        max_abs: largest absolute difference of what the part computes.
        mean_abs: mean absolute difference.
        cosine: the smallest of all questions.
        top1_agreement: share of equal most likely tokens.
        greedy_length: mean number of equal greedy tokens before the first that differs.
        note: why it failed or is absent.
    """

    part: str
    verdict: Literal["pass", "fail", "absent"]
    max_abs: float | None = None
    mean_abs: float | None = None
    cosine: float | None = None
    top1_agreement: float | None = None
    greedy_length: float | None = None
    note: str = ""


@dataclass(frozen=True)
class ParityScore:
    """Change of a benchmark's score between two models on the same questions.

    Attributes:
        benchmark: its name.
        n: questions.
        change: score of the later form minus the earlier one's, with its paired 95% interval
            from `low` to `high`.
        same: share of answers that are equal letter by letter.
    """

    benchmark: str
    n: int
    change: float
    low: float
    high: float
    same: float


@dataclass(frozen=True)
class ParityRow:
    """One step of the parity check: two models compared on the golden questions.

    Attributes:
        rung: e.g. "merged → ExecuTorch fp32".
        max_abs: largest absolute difference of the first logits.
        mean_abs: mean absolute difference of the first logits.
        cosine: cosine of the first logits.
        top1_agreement: share of questions with the same most likely first token.
        greedy_match: share of questions with the same greedy answer, token by token.
        tolerance: the bound on `max_abs`; None when it is judged otherwise.
        verdict: "not gated" for a step that is informational.
        greedy_length: mean number of equal greedy tokens before the first that differs.
        parts: each part by itself; empty where they were not compared.
        score: change of the task's score; None when it was not measured.
    """

    rung: str
    max_abs: float | None = None
    mean_abs: float | None = None
    cosine: float | None = None
    top1_agreement: float | None = None
    greedy_match: float | None = None
    tolerance: float | None = None
    verdict: Verdict = "not gated"
    greedy_length: float | None = None
    parts: tuple[ParityPart, ...] = ()
    score: ParityScore | None = None


@dataclass(frozen=True)
class Report:
    """All that one run of the pipeline has to show.

    Attributes:
        created: UTC, ISO 8601.
        protocol: how the timings were taken: prompt, tokens, repeats, processes.
        licences: of what went in, name to license.
        comparisons: of systems on the same questions.
        titles: benchmark name -> the name as people write it; absent in older reports.
        questions: what happened to single questions; None in older reports.
    """

    schema: int
    created: str
    title: str
    environment: Environment
    training: TrainingSection | None = None
    systems: tuple[SystemResult, ...] = ()
    parity: tuple[ParityRow, ...] = ()
    protocol: str = ""
    notes: tuple[str, ...] = ()
    licences: dict[str, str] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    titles: dict[str, str] = field(default_factory=dict)
    questions: QuestionSection | None = None

    def title_of(self, benchmark: str) -> str:
        """Return a benchmark's name as people write it."""
        return self.titles.get(benchmark, benchmark)

    @property
    def reference(self) -> SystemResult | None:
        """The trained eager model that the others are compared with."""
        return next((s for s in self.systems if s.role == "reference"), None)

    def comparison(self, benchmark: str, system: str) -> Comparison | None:
        """Return the comparison of a system with its reference, or None."""
        wanted = (benchmark, system)
        return next((c for c in self.comparisons if (c.benchmark, c.system) == wanted), None)

    def with_system(self, system: SystemResult) -> Report:
        """Return the report with `system` added, in place of one of the same name."""
        names = [s.name for s in self.systems]
        if system.name not in names:
            return replace(self, systems=(*self.systems, system))
        systems = tuple(system if s.name == system.name else s for s in self.systems)
        return replace(self, systems=systems)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        value: dict[str, Any] = encode(self)
        return value

    @classmethod
    def from_dict(cls, value: Any) -> Report:
        """Read a report from JSON values.

        Raises:
            ArtifactError: the version is unknown, or a field is missing, unknown or wrong.
        """
        version = value.get("schema") if isinstance(value, dict) else None
        if version != REPORT_SCHEMA or isinstance(version, bool):
            found = "no version" if version is None else f"version {version!r}"
            newer = isinstance(version, int) and version > REPORT_SCHEMA
            raise ArtifactError(
                f"The report has {found} in 'schema': this program reads version {REPORT_SCHEMA}.",
                "Update hydra-mobile." if newer else "Evaluate again to make the report anew.",
            )
        return decode(cls, value, "The report", fix=_ALTERED)
