"""What every benchmark does: give questions, say how to ask them, score the answers.

A benchmark knows its files and its rules; it knows no model and no runtime.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from hydra_mobile.benchmarks.matching import AnswerMatcher, Joined, check_complete
from hydra_mobile.benchmarks.metric import Metric, scores_of
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.shared.answer_files import read_records
from hydra_mobile.benchmarks.types import CHOICE, PROTOCOLS, SHORT_ANSWER, DataFile, Sample, Score
from hydra_mobile.core.errors import ConfigError, DataError
from hydra_mobile.core.registry import nearest

__all__ = [
    "CHOICE",
    "PROTOCOLS",
    "SHORT_ANSWER",
    "AnswerMatcher",
    "Benchmark",
    "DataFile",
    "Joined",
    "Metric",
    "Sample",
    "Score",
    "check_complete",
]


class Benchmark(ABC):
    """A set of questions with its rules.

    Args:
        data: the folder that holds all benchmarks, or the benchmark's own.
        protocol: name of the way of asking, see `protocols`.

    Raises:
        ConfigError: the benchmark knows no such protocol.
    """

    name: ClassVar[str]
    #: Tokens after which an answer is cut off.
    max_new_tokens: ClassVar[int] = 16
    #: The ways of asking that it knows; the first is the default.
    protocols: ClassVar[tuple[str, ...]] = PROTOCOLS
    #: How pictures are fitted to the square where the protocol says so; None: as the model does.
    image_fit: Literal["crop"] | None = None

    def __init__(self, data: Path, protocol: str = PROTOCOLS[0]) -> None:
        if protocol not in self.protocols:
            raise ConfigError(
                f"{self.name} knows no protocol `{protocol}`.", nearest(protocol, self.protocols)
            )
        self.data = data
        self.protocol = protocol

    # -- questions --------------------------------------------------------------------------

    @abstractmethod
    def samples(self, *, splits: Sequence[str] = (), limit: int | None = None) -> list[Sample]:
        """Return the questions, those about one picture beside each other.

        Args:
            splits: which ones; empty for all there are.
            limit: at most about this many of each split, kinds in the same mix; None for all.

        Raises:
            DataError: a file is missing or altered, or a split is unknown.
        """

    def prompt(self, sample: Sample) -> str:
        """Return what the user would type: the question with its suffix, without a template."""
        return sample.question

    def files(self) -> list[DataFile]:
        """Return the files that are read, found or not."""
        return []

    def protocol_facts(self) -> dict[str, Any]:
        """Return what was asked and how, for the result: JSON values only, no absolute paths."""
        return {"protocol": self.protocol, "max_new_tokens": self.max_new_tokens}

    def table_cells(self, sample: Sample) -> dict[str, str]:
        """Return the sample's cells for a table of the field, without index and picture.

        Columns by the names that VLMEvalKit reads: question, hint, A, B, ..., answer, category,
        image_path (a name of the picture, of its own for every picture).
        """
        cells = {"question": sample.question, "answer": sample.reference, "category": sample.kind}
        if isinstance(sample.image, FilePicture):
            cells["image_path"] = sample.image.path.name
        return cells

    # -- answers ----------------------------------------------------------------------------

    @abstractmethod
    def is_correct(self, sample: Sample, answer: str) -> bool:
        """Say whether `answer`, read by the benchmark's rules, is right."""

    def credit(self, sample: Sample, answer: str) -> float:
        """Return the answer's credit in [0, 1]; 0 or 1 except where a metric is softer."""
        return float(self.is_correct(sample, answer))

    @abstractmethod
    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        """Return the numbers of the benchmark, exactly one of them the headline.

        Args:
            samples: from `samples()`.
            answers: sample key -> the model's answer.
            partial: score what is there although answers are missing or belong to no sample.

        Raises:
            DataError: an answer is missing, or belongs to no sample, and `partial` is off.
        """

    def score(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Score]:
        """Return the scores with their intervals; arguments and errors as for `metrics`."""
        return scores_of(self.metrics(samples, answers, partial=partial))

    def details(self, samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
        """Return counts behind the scores as JSON values; only answered samples are counted."""
        return {}

    def answers_at(self, path: Path) -> None:  # noqa: B027
        """Tell where existing answers are, before `samples`; some formats hold questions too."""

    def join(self, path: Path, samples: Sequence[Sample]) -> Joined:
        """Read an existing answers file and join it to the samples by key.

        The default reads our own answers.jsonl; benchmarks add the formats of their field.

        Raises:
            DataError: the file cannot be read as answers to this benchmark at all.
        """
        joiner = AnswerMatcher(samples, path)
        for record in read_records(path):
            joiner.add_own(record)
        return joiner.joined()

    def read_answers(
        self, path: Path, samples: Sequence[Sample], *, allow_partial: bool = False
    ) -> dict[str, str]:
        """Return sample key -> text from an existing answers file.

        Raises:
            DataError: answers are missing, unknown, doubled or belong to other questions, and
                `allow_partial` is off; counts and names them.
        """
        joined = self.join(path, samples)
        if not allow_partial:
            joined.require_complete()
        return joined.answers

    def write_submission(
        self, samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
    ) -> list[Path]:
        """Write the answers in the formats of the field and return the files.

        Raises:
            DataError: the benchmark has no such format.
        """
        raise DataError(f"{self.name} has no submission format.")
