"""What was measured of one system, and of two that are compared: scores, speed, memory, agreement.

`None` always means "not measured" and is never written as 0.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from hydra_mobile.reporting.evidence import PhoneMemory

Role = Literal["reference", "untrained", "export", "other"]
"""What a system is to the report: the trained eager model that the others are compared with,
the same model before training, an exported form of it, or anything else worth a row."""

Unit = Literal["share", "points"]
"""What a score counts in: a share in [0, 1], shown as percent, or a sum of points (MME)."""


@dataclass(frozen=True)
class Environment:
    """The machine that measured. Holds no path and no user name.

    Attributes:
        kind: "host" numbers say nothing about a phone, "emulator" numbers nothing about speed.
        machine: instruction set, e.g. "x86_64", "aarch64".
        cpu_flags: the instruction extensions that decide how fast the kernels are.
        load_average: over 1, 5 and 15 minutes, when the measuring began.
        packages: installed version of each package that matters.
        git_revision: of the sources, with "+" when they were changed since.
    """

    kind: Literal["host", "emulator", "device"]
    machine: str
    system: str
    python: str
    cpu: str | None = None
    cpu_flags: tuple[str, ...] = ()
    cores_physical: int | None = None
    cores_logical: int | None = None
    memory_bytes: int | None = None
    accelerator: str | None = None
    load_average: tuple[float, ...] | None = None
    packages: dict[str, str] = field(default_factory=dict)
    git_revision: str | None = None

    @property
    def label(self) -> str:
        """The tag of every timing, e.g. "x86 host"."""
        known = {"x86_64": "x86", "amd64": "x86", "aarch64": "arm64"}
        return f"{known.get(self.machine.lower(), self.machine)} {self.kind}"


@dataclass(frozen=True)
class Spread:
    """Repeated measurements as median, quartiles and their number."""

    median: float
    p25: float
    p75: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Summarize `values`; None when there are none."""
        ordered = sorted(values)
        if not ordered:
            return None
        if len(ordered) == 1:
            return cls(ordered[0], ordered[0], ordered[0], 1)
        p25, median, p75 = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(median, p25, p75, len(ordered))


@dataclass(frozen=True)
class Timings:
    """How long each part takes; each None when not measured.

    Attributes:
        load: seconds to load the artifact, ready for the first question.
        encode: seconds to turn one picture into embeddings.
        prefill_tokens_per_second: speed of reading the prompt, image positions included.
        first_token: seconds from picture and question to the first token, `encode` included.
        decode_tokens_per_second: speed of the tokens after the first.
    """

    load: Spread | None = None
    encode: Spread | None = None
    prefill_tokens_per_second: Spread | None = None
    first_token: Spread | None = None
    decode_tokens_per_second: Spread | None = None


@dataclass(frozen=True)
class Score:
    """One benchmark number with its 95% interval.

    Attributes:
        benchmark: name of the benchmark, e.g. "emojiqa".
        split: part of the benchmark, e.g. "seen".
        kind: kind of question, "all" for the whole split.
        value: the score in its `unit`; `low` and `high` bound its interval.
        n: number of questions.
        majority: score of always giving the commonest answer; None when it means nothing.
        unit: "share" for values in [0, 1], "points" for sums.
        headline: whether it is the benchmark's one number for tables; one a benchmark at most.
        unread: answers that could not be read as any valid answer; they count as wrong.
    """

    benchmark: str
    split: str
    kind: str
    value: float
    low: float
    high: float
    n: int
    majority: float | None = None
    unit: Unit = "share"
    headline: bool = False
    unread: int = 0

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"interval from {self.low} to {self.high}")


@dataclass(frozen=True)
class BenchmarkRun:
    """How one benchmark was asked of one system, and what the asking took.

    Attributes:
        benchmark: its name.
        protocol: name of the way of asking, e.g. "llava-1.5"; "" when it was not recorded.
        facts: the protocol spelled out (suffixes, padding, most tokens, OCR tokens), JSON values.
        sources: names of the question files, since releases of one benchmark differ; an absolute
            path is cut to its last part.
        questions: how many were to be asked.
        answered: how many were; fewer than `questions` make the scores incomplete.
        samples: digest of the questions' keys: equal digests are the same questions.
        answers: where the answers are, relative to the folder of the report; "" when not kept.
        timings: as measured while it was answered; what is None here is as in the system's.
        seconds: from the first question to the last answer, over all processes.
        runner_share: share in [0, 1] of that time that was spent inside the runner.
        peak_memory_bytes: peak resident memory of the process that answered.
        cut_by_context: how many answers ended because the model's context was full; None where
            no answer says why it ended.
        cut_by_length: how many ended at the most tokens that the protocol allows.
    """

    benchmark: str
    protocol: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    questions: int | None = None
    answered: int | None = None
    samples: str = ""
    answers: str = ""
    timings: Timings = field(default_factory=Timings)
    seconds: float | None = None
    runner_share: float | None = None
    peak_memory_bytes: int | None = None
    cut_by_context: int | None = None
    cut_by_length: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(_portable(source) for source in self.sources))

    @property
    def complete(self) -> bool:
        """Whether no question is known to lack its answer."""
        return self.questions is None or self.answered is None or self.answered >= self.questions


@dataclass(frozen=True)
class ScoreChange:
    """One number of a benchmark: the system's minus the reference's on the same questions.

    Attributes:
        split: part of the benchmark.
        kind: part of the split, "all" for the whole.
        change: in `unit`, with its paired 95% interval from `low` to `high`.
        p: two-sided bootstrap p value of "no change".
        unit: as in `Score`.
        headline: as in `Score`.
    """

    split: str
    kind: str
    change: float
    low: float
    high: float
    p: float
    unit: Unit = "share"
    headline: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"interval from {self.low} to {self.high}")


@dataclass(frozen=True)
class FlippedAnswer:
    """A question that one system answered better than the other.

    Attributes:
        key: the question's, unique in its benchmark.
        split: part of the benchmark.
        kind: form of the question.
        question: as it was asked.
        expected: the right answer.
        answer: the system's, and its `credit` in [0, 1].
        reference_answer: the reference's, and its `reference_credit`.
    """

    key: str
    split: str
    kind: str
    question: str
    expected: str
    answer: str
    reference_answer: str
    credit: float
    reference_credit: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same questions of one benchmark.

    Attributes:
        benchmark: its name.
        system: name of the one.
        reference: name of the other, which it is compared with.
        n: questions that both answered.
        same: answers that are equal letter by letter.
        gained: questions with more credit than the reference's answer got.
        lost: questions with less.
        changes: of every number of the benchmark.
        flips: some of the gained and lost questions.
        flips_file: all of them as JSON lines, relative to the report's folder; "" if unwritten.
        warnings: why the two may not be comparable.
    """

    benchmark: str
    system: str
    reference: str
    n: int
    same: int
    gained: int = 0
    lost: int = 0
    changes: tuple[ScoreChange, ...] = ()
    flips: tuple[FlippedAnswer, ...] = ()
    flips_file: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def headline(self) -> ScoreChange | None:
        """The change of the benchmark's one number for tables."""
        return next((change for change in self.changes if change.headline), None)


@dataclass(frozen=True)
class Agreement:
    """How many of `n` answers are, letter by letter, those of the reference."""

    same: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.same <= self.n:
            raise ValueError(f"{self.same} same answers of {self.n}")


@dataclass(frozen=True)
class Delegation:
    """Share of the decoder that runs on fast kernels, in [0, 1], by nodes and by multiply-adds."""

    nodes: float | None = None
    macs: float | None = None


@dataclass(frozen=True)
class SystemResult:
    """One evaluated artifact: a row of the report.

    Attributes:
        name: unique in the report, e.g. "ExecuTorch int4".
        runtime: "torch", "executorch", "onnx", ...
        preset: precision preset, e.g. "fp32", "int4".
        role: what the row is to the report, see `Role`.
        artefact: name or relative path; an absolute one is cut to its last part, since reports
            travel and the folders of a machine are nobody's business.
        source_hash: sha256 of the weights it was made from.
        size_bytes: bytes on disk of all that the device needs.
        peak_memory_bytes: peak resident memory of the process that answered.
        agreement: per split, answers equal to those of the reference.
        threads: threads of the runtime.
        fallbacks: every place where the export or the runtime did less than was asked.
        reasons: field name (of this class or of `Timings`) to the reason why it is absent, or
            why it is below its bound.
        runs: how each benchmark was asked.
        environment: the machine that measured it, where that is not the report's.
        device: what the phone or board that ran it says of itself, a fact each.
        phone: estimated memory on phones; of bundles only.
        output_errors: unit of the decoder, such as "layers.0.qkv" -> what rounding to 4 bits
            changes of its output, relative to it, over the calibration's inputs.
        others: share in [0, 1] of the processors that other programs used while it was timed.
    """

    name: str
    runtime: str
    preset: str
    role: Role = "other"
    artefact: str | None = None
    source_hash: str | None = None
    size_bytes: int | None = None
    timings: Timings = field(default_factory=Timings)
    peak_memory_bytes: int | None = None
    delegation: Delegation | None = None
    scores: tuple[Score, ...] = ()
    agreement: dict[str, Agreement] | None = None
    threads: int | None = None
    fallbacks: tuple[str, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)
    runs: tuple[BenchmarkRun, ...] = ()
    environment: Environment | None = None
    device: tuple[str, ...] = ()
    phone: PhoneMemory | None = None
    output_errors: dict[str, float] = field(default_factory=dict)
    others: float | None = None

    def __post_init__(self) -> None:
        if self.artefact is not None:
            object.__setattr__(self, "artefact", _portable(self.artefact))

    def score(self, benchmark: str, split: str, kind: str = "all") -> Score | None:
        """Return the score of a split, or None."""
        wanted = (benchmark, split, kind)
        return next((s for s in self.scores if (s.benchmark, s.split, s.kind) == wanted), None)

    def headline(self, benchmark: str) -> Score | None:
        """Return the benchmark's one number for tables, or None."""
        return next((s for s in self.scores if s.benchmark == benchmark and s.headline), None)

    def run(self, benchmark: str) -> BenchmarkRun | None:
        """Return how a benchmark was asked, or None when that was not recorded."""
        return next((run for run in self.runs if run.benchmark == benchmark), None)


def _portable(path: str) -> str:
    windows = PureWindowsPath(path)
    pure: PurePath = windows if windows.drive else PurePosixPath(path)
    return pure.name if pure.is_absolute() or path.startswith("~") else path
