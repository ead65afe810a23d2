"""What one artifact answered, read back from the disk: the input of scores and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from hydra_mobile.evaluation.store.work_dir import ArtifactDir, TaskDir
from hydra_mobile.reporting.schema import BenchmarkRun, Role

ROLES: dict[str, Role] = {
    "base": "untrained",
    "run": "reference",
    "merged": "reference",
    "bundle": "export",
}


class Answer(NamedTuple):
    """What scoring and comparing need of an answer."""

    text: str
    ids: tuple[int, ...]
    margin: float


@dataclass(frozen=True)
class Answered:
    """One benchmark's answers of one artifact.

    Attributes:
        job: what was asked.
        answers: sample key -> answer.
        run: how it was asked and what it took.
    """

    job: TaskDir
    answers: Mapping[str, Answer]
    run: BenchmarkRun

    @property
    def texts(self) -> dict[str, str]:
        """Sample key -> the answer's text."""
        return {key: answer.text for key, answer in self.answers.items()}

    @property
    def partial(self) -> bool:
        """Whether questions are without an answer."""
        return len(self.answers) < len(self.job.asked.samples)


@dataclass(frozen=True)
class Evaluated:
    """All that is known of one artifact."""

    sitting: ArtifactDir
    facts: dict[str, Any]
    answered: tuple[Answered, ...]

    @property
    def role(self) -> Role:
        """What its row is to the report."""
        return ROLES[self.sitting.artifact.kind]
