"""What every benchmark does: give questions, say how to ask them, score the answers.

A benchmark knows its files and its rules; it knows no model and no runtime.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from hydra_mobile.benchmarks import BENCHMARKS, FINDERS
from hydra_mobile.benchmarks.matching import AnswerMatcher, Joined, check_complete
from hydra_mobile.benchmarks.metric import Metric, scores_of, share
from hydra_mobile.benchmarks.pictures import TURNED, FilePicture
from hydra_mobile.benchmarks.shared.answer_files import asks, read_records
from hydra_mobile.benchmarks.shared.locate import DataRoots
from hydra_mobile.benchmarks.shared.submission_formats import file_name, llava_line, write_lines
from hydra_mobile.benchmarks.shared.subset import chosen_splits, limited
from hydra_mobile.benchmarks.types import CHOICE, PROTOCOLS, SHORT_ANSWER, DataFile, Sample, Score
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.registry import nearest, resolve

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
    """A set of questions with its rules, and all that is known about its name.

    A small benchmark names itself, lists its `splits`, yields the questions of one in `read`, and
    says in `parse` how an answer is read. Limits, prompts, accuracy with intervals, and answers
    files in both directions come from here; what the field does differently is overridden.

    Args:
        data: the folder that holds all benchmarks, the benchmark's own, or, to score with, one
            file of annotations.
        protocol: name of the way of asking, see `protocols`; empty for the first of them.

    Raises:
        ConfigError: the benchmark knows no such protocol.
        DataError: there is nothing at `data`.
    """

    #: The name in commands and files.
    name: ClassVar[str]
    #: The name as people write it.
    title: ClassVar[str]
    #: What is asked, in a few words, for help texts and tables.
    about: ClassVar[str] = ""
    #: The primary metric, and what else is reported.
    primary: ClassVar[str] = "accuracy"
    also: ClassVar[str] = ""
    #: Where the data come from: an address, or the command that builds them.
    source: ClassVar[str] = ""
    #: The terms of its data: what -> license.
    licenses: ClassVar[Mapping[str, str]] = MappingProxyType({})
    #: Whether its questions are those of an official release, and not built here.
    official: ClassVar[bool] = True
    #: Names that its own folder may have; empty for `name` alone.
    folders: ClassVar[tuple[str, ...]] = ()
    #: The cells that `table_cells` may fill, by the names that VLMEvalKit reads.
    columns: ClassVar[tuple[str, ...]] = ("question", "answer", "category", "image_path")
    #: Tokens after which an answer is cut off.
    max_new_tokens: ClassVar[int] = 16
    #: The ways of asking that it knows; the first is the default.
    protocols: ClassVar[tuple[str, ...]] = PROTOCOLS
    #: What `prompt` adds to the question, byte for byte.
    suffix: ClassVar[str] = ""
    #: How pictures are fitted to the square where the protocol says so; None: as the model does.
    image_fit: Literal["crop"] | None = None

    def __init__(self, data: Path, protocol: str = "") -> None:
        protocol = protocol or self.protocols[0]
        if protocol not in self.protocols:
            raise ConfigError(
                f"{self.name} knows no protocol `{protocol}`.", nearest(protocol, self.protocols)
            )
        self.data = data
        self.protocol = protocol
        self.places = DataRoots(data, self.folders or (self.name,), self.source)

    @staticmethod
    def named(name: str) -> type[Benchmark]:
        """Return the class that is registered under `name`, or that it names itself.

        Besides names, `hydra_mobile.benchmarks.own.names` lists files and classes of one's own.

        Raises:
            HydraError: there is none; lists the names.
        """
        own: type[Benchmark] | None = None
        if name not in BENCHMARKS:
            own = resolve("finder of benchmarks", "own", FINDERS)(name)
        found: type[Benchmark] = own or resolve("benchmark", name, BENCHMARKS)
        return found

    @staticmethod
    def open(name: str, data: Path, protocol: str = "") -> Benchmark:
        """Return the benchmark `name` over `data`; arguments and errors as of the class.

        A report names a test set of one's own by its stem: NAME.jsonl in `data` is found too.
        """
        if name not in BENCHMARKS and (data / f"{name}.jsonl").is_file():
            name = str(data / f"{name}.jsonl")
        return Benchmark.named(name)(data, protocol)

    # -- questions --------------------------------------------------------------------------

    @abstractmethod
    def splits(self) -> Sequence[str]:
        """Return the splits that can be read.

        Raises:
            DataError: a file that says so is missing or altered.
        """

    @abstractmethod
    def read(self, split: str) -> Iterable[Sample]:
        """Return all questions of a split, those about one picture beside each other.

        Raises:
            DataError: a file is missing or altered; names the file and the place in it.
        """

    def default_splits(self) -> Sequence[str]:
        """Return the splits that are evaluated where none is named; all of them by default."""
        return self.splits()

    def samples(self, *, splits: Sequence[str] = (), limit: int | None = None) -> list[Sample]:
        """Return the questions, those about one picture beside each other.

        Args:
            splits: which ones; empty for `default_splits`.
            limit: at most about this many of each split, whole pictures, evenly spread; None for
                all.

        Raises:
            DataError: a file is missing or altered, or a split is unknown.
        """
        chosen = chosen_splits(self.name, splits, self.splits()) if splits else ()
        return [
            sample
            for split in chosen or self.default_splits()
            for sample in self.limited(self.read(split), limit)
        ]

    def limited(self, samples: Iterable[Sample], limit: int | None) -> list[Sample]:
        """Return about `limit` samples of a split, whole pictures, evenly spread; None for all."""
        return limited(samples, limit)

    def prompt(self, sample: Sample) -> str:
        """Return what the user would type: the question with its suffix, without a template.

        A prompt that a file of the field holds, byte for byte, goes before: `meta["prompt"]`.
        """
        return str(sample.meta.get("prompt", sample.question + self.suffix))

    def files(self) -> list[DataFile]:
        """Return the files that are read, found or not."""
        return []

    def protocol_facts(self) -> dict[str, Any]:
        """Return what was asked and how, for the result: JSON values only, no absolute paths."""
        facts: dict[str, Any] = {
            "protocol": self.protocol,
            "max_new_tokens": self.max_new_tokens,
            "pictures": "turned by EXIF" if TURNED else "as stored, EXIF and transparency unheeded",
        }
        if self.suffix:
            padding = "mean color, to a square" if self.image_fit is None else "none, middle square"
            facts |= {"suffix": self.suffix, "padding": padding}
        return facts

    def table_cells(self, sample: Sample) -> dict[str, str]:
        """Return the sample's cells for a table of the field, without index and picture.

        Columns are those of `columns`; image_path is a name of the picture, of its own for every
        picture.
        """
        cells = {"question": sample.question, "answer": sample.reference, "category": sample.kind}
        if isinstance(sample.image, FilePicture):
            cells["image_path"] = sample.image.path.name
        return cells

    # -- answers ----------------------------------------------------------------------------

    def parse(self, sample: Sample, answer: str) -> str:
        """Return what `answer` says, to be compared with `sample.reference`; "" for unreadable.

        The default reads one word or phrase: first line, lower case, no full stop at the end.
        """
        return answer.strip().split("\n")[0].rstrip(". ").lower()

    def is_correct(self, sample: Sample, answer: str) -> bool:
        """Say whether `answer`, read by the benchmark's rules, is right."""
        return bool(sample.reference) and self.parse(sample, answer) == sample.reference

    def credit(self, sample: Sample, answer: str) -> float:
        """Return the answer's credit in [0, 1]; 0 or 1 except where a metric is softer."""
        return float(self.is_correct(sample, answer))

    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        """Return the numbers of the benchmark, exactly one of them the headline.

        The default is the mean credit of each split, the first one's the headline, and of each
        kind of question where a split has several.

        Args:
            samples: from `samples()`.
            answers: sample key -> the model's answer.
            partial: score what is there although answers are missing or belong to no sample.

        Raises:
            DataError: an answer is missing, or belongs to no sample, and `partial` is off.
        """
        answered = [s for s in check_complete(samples, answers, partial) if s.reference]
        metrics: list[Metric] = []
        for split in dict.fromkeys(sample.split for sample in answered):
            of_split = [sample for sample in answered if sample.split == split]
            kinds = list(dict.fromkeys(sample.kind for sample in of_split))
            metrics.append(self.accuracy(split, "all", of_split, answers, headline=not metrics))
            for kind in kinds if len(kinds) > 1 else ():
                chosen = [sample for sample in of_split if sample.kind == kind]
                metrics.append(self.accuracy(split, kind, chosen, answers))
        return metrics

    def accuracy(
        self,
        split: str,
        kind: str,
        samples: Sequence[Sample],
        answers: Mapping[str, str],
        *,
        headline: bool = False,
    ) -> Metric:
        """Return the mean credit of answered samples, beside what the best constant answer reaches.

        Args:
            split: part of the benchmark.
            kind: what the number is called.
            samples: at least one, all answered.
            answers: sample key -> the model's answer.
            headline: whether it is the benchmark's one number for tables.
        """
        constant = Counter(sample.reference for sample in samples).most_common(1)[0][1]
        return share(
            split,
            kind,
            [self.credit(sample, answers[sample.key]) for sample in samples],
            [sample.cluster for sample in samples],
            headline=headline,
            majority=constant / len(samples),
            unread=sum(not self.parse(sample, answers[sample.key]) for sample in samples),
        )

    def score(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Score]:
        """Return the scores with their intervals; arguments and errors as for `metrics`."""
        return scores_of(self.metrics(samples, answers, partial=partial))

    def details(self, samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
        """Return counts behind the scores as JSON values; only answered samples are counted."""
        return {}

    def require_writer(self) -> None:  # noqa: B027
        """Check that `write_submission` has what it needs, before questions are asked for hours.

        Raises:
            HydraError: an optional package is missing; the message has the line that installs it.
        """

    def answers_at(self, path: Path) -> None:  # noqa: B027
        """Tell where existing answers are, before `samples`; some formats hold questions too."""

    def join(self, path: Path, samples: Sequence[Sample]) -> Joined:
        """Read an existing answers file and match it to the samples by key.

        The default reads our own answers.jsonl and LLaVA's lines, whose `question_id` is the
        sample's key; benchmarks add the formats of their field.

        Raises:
            DataError: the file cannot be read as answers to this benchmark at all.
        """
        matcher = AnswerMatcher(samples, path)
        questions = {sample.key: sample.question for sample in samples}
        for record in read_records(path):
            key = record.id("question_id")
            if "key" in record.value or key is None:
                matcher.add_own(record)
            elif key in questions and record.prompt and not asks(record.prompt, questions[key]):
                matcher.mismatched(record.where)
            else:
                matcher.add(key, record.text("text", "prediction", "answer"), record.where)
        return matcher.joined()

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

        The default is LLaVA's lines alone.

        Args:
            samples: the questions asked; those without an answer are left out.
            answers: sample key -> text.
            folder: for the files; it need not exist.
            model_id: name of the model.
        """
        return [self.write_llava_lines(samples, answers, folder, model_id)]

    def write_llava_lines(
        self, samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
    ) -> Path:
        """Write LLaVA's answer lines and return the file; arguments as for `write_submission`."""
        lines = (
            llava_line(self.llava_id(sample), self.prompt(sample), answers[sample.key], model_id)
            for sample in samples
            if sample.key in answers
        )
        return write_lines(folder / file_name(model_id, ".jsonl"), lines)

    def llava_id(self, sample: Sample) -> str | int:
        """Return the `question_id` of a sample in LLaVA's files."""
        return sample.key
