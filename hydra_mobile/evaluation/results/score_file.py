"""An existing answers file becomes scores: no model, no runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.base import Benchmark, Joined, Score
from hydra_mobile.core.errors import DataError

OWN_ANSWERS = "answers.jsonl"
#: What LLaVA's scripts join the parts of several GPUs to.
_MERGED = "merge.jsonl"


@dataclass(frozen=True)
class Scored:
    """The scores of an answers file.

    Attributes:
        benchmark: its name.
        joined: how the answers met the questions.
        scores: empty where the data hold no right answers (a test split).
        details: counts behind the scores.
        facts: protocol and files, see `Benchmark.protocol_facts`.
        notes: what must be said wherever the scores are shown.
    """

    benchmark: str
    joined: Joined
    scores: tuple[Score, ...]
    details: dict[str, Any]
    facts: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def headline(self) -> Score | None:
        """The benchmark's one number."""
        return next((score for score in self.scores if score.headline), None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; shares are given in percent too."""
        return {
            "benchmark": self.benchmark,
            "answers_file": self.joined.source,
            **self.joined.to_dict(),
            "headline": _values(self.headline) if self.headline else None,
            "scores": [_values(score) for score in self.scores],
            "details": self.details,
            "protocol": self.facts,
            "notes": list(self.notes),
        }


def score_answers(
    name: str,
    answers: Path,
    data: Path,
    *,
    protocol: str = "",
    splits: Sequence[str] = (),
    allow_partial: bool = False,
) -> Scored:
    """Score an answers file (or the folder that a benchmark's own tool reads).

    Args:
        name: of the benchmark.
        answers: LLaVA's jsonl, a format of the benchmark's own tool, or our own answers.jsonl (or
            the folder that holds it, or LLaVA's merge.jsonl).
        data: the official data folder.
        protocol: of the questions; empty for the benchmark's default.
        splits: which ones; empty for all there are.
        allow_partial: score what fits although answers are missing, unknown, doubled or belong to
            other questions; the result says so.

    Raises:
        HydraError: the benchmark is unknown, data are missing, or (without `allow_partial`)
            answers and questions do not match.
    """
    benchmark = Benchmark.open(name, data, protocol)
    if not answers.exists():
        raise DataError(f"The answers {answers} do not exist.")
    for name_inside in (OWN_ANSWERS, _MERGED):
        if (answers / name_inside).is_file():
            answers = answers / name_inside
    benchmark.answers_at(answers)
    samples = benchmark.samples(splits=splits)
    joined = benchmark.join(answers, samples)
    if not allow_partial:
        joined.require_complete()
    facts = benchmark.protocol_facts()
    return Scored(
        benchmark=benchmark.name,
        joined=joined,
        scores=tuple(benchmark.score(samples, joined.answers, partial=allow_partial)),
        details=benchmark.details(samples, joined.answers),
        facts=facts,
        notes=(*joined.notes, *facts.get("notes", ())),
    )


def lines_of(scored: Scored) -> list[str]:
    """Return the result as a table for people: headline, what is missing, then every number."""
    joined = scored.joined
    named = scored.facts.get("files", {})
    counts = named if isinstance(named, dict) else {}
    files = ", ".join(f"{name} ({counts[name]})" if name in counts else name for name in named)
    lines = [_headline(scored)]
    if joined.problems:
        lines.append(f"INCOMPLETE: {joined.complaint()}")
    lines.append(
        f"{len(joined.answers)} of {joined.questions} questions answered in {joined.source}"
    )
    if joined.aside:
        lines.append(f"{joined.aside} answers belong to questions that are not scored here")
    if files:
        lines.append(f"data: {files}")
    lines += [f"note: {note}" for note in scored.notes]
    if scored.scores:
        lines += ["", *_table(scored.scores)]
    if scored.details:
        lines += ["", *(f"{name}: {_plain(value)}" for name, value in scored.details.items())]
    return lines


def _headline(scored: Scored) -> str:
    score = scored.headline
    if score is None:
        return f"{scored.benchmark}: the data hold no right answers, so there is no score"
    what = " ".join(dict.fromkeys(part for part in (score.name, score.kind) if part != "all"))
    value, interval = _shown(score)
    return f"{scored.benchmark}{f' {what}' if what else ''}: {value} (95% interval {interval})"


def _table(scores: Sequence[Score]) -> list[str]:
    rows = [("split", "part", "score", "95% interval", "n", "constant", "unread")]
    for score in scores:
        constant = "" if score.majority is None else _number(score.majority, score.unit)
        rows.append(
            (
                score.name,
                score.kind,
                *_shown(score),
                str(score.n),
                constant,
                str(score.unread) if score.unread else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _shown(score: Score) -> tuple[str, str]:
    low, high = _number(score.low, score.unit), _number(score.high, score.unit)
    return _number(score.value, score.unit), f"{low} to {high}"


def _number(value: float, unit: str) -> str:
    return f"{value:.2f}" if unit == "points" else f"{100 * value:.2f}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _values(score: Score) -> dict[str, Any]:
    values = asdict(score)
    if score.unit == "share":
        values["percent"] = 100 * score.value
    return values
