"""What one artifact answered, read back from the disk: the input of scores and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.evaluation.store.work_dir import ArtifactDir, TaskDir
from hydra_mobile.reporting.results import BenchmarkRun, Role

ROLES: dict[str, Role] = {
    "base": "untrained",
    "run": "reference",
    "merged": "reference",
    "bundle": "export",
}


@dataclass(frozen=True)
class Predictions:
    """One artifact's answers to one benchmark.

    Attributes:
        task: the questions and the folder of the answers.
        lines: question key -> answer.
        run: protocol, counts and times, for the report.
    """

    task: TaskDir
    lines: Mapping[str, AnswerLine]
    run: BenchmarkRun

    @property
    def texts(self) -> dict[str, str]:
        """Question key -> the answer's text."""
        return {key: line.text for key, line in self.lines.items()}

    @property
    def partial(self) -> bool:
        """Whether questions are without an answer."""
        return len(self.lines) < len(self.task.spec.samples)


@dataclass(frozen=True)
class ArtifactResults:
    """Everything that was measured of one artifact: its predictions, and its speed and memory."""

    folder: ArtifactDir
    facts: dict[str, Any]
    predictions: tuple[Predictions, ...]

    @property
    def name(self) -> str:
        """What the report calls it."""
        return self.folder.artifact.name

    @property
    def role(self) -> Role:
        """What its row is to the report."""
        return ROLES[self.folder.artifact.kind]
