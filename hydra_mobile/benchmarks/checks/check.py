"""A benchmark's folder, looked over before an hour is spent: files, counts, prompts, pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hydra_mobile.benchmarks.base import Benchmark, DataFile, Sample
from hydra_mobile.benchmarks.pictures import FilePicture, Picture
from hydra_mobile.core.errors import DataError, HydraError

Depth = Literal["some", "all", "none"]
#: So many pictures, spread over all, are opened for "some".
_SOME = 16


@dataclass(frozen=True)
class FileCheck:
    """One file or folder.

    Attributes:
        path: inside the data folder where it is in there.
        what: what it holds.
        required: whether nothing can be scored without it.
        found: whether it is there.
        count: of what is in it; None where only its presence matters.
        official: counts of the official releases; empty if there are none.
        problem: why it cannot be read; "" if it can.
    """

    path: str
    what: str
    required: bool
    found: bool
    count: int | None
    official: tuple[int, ...]
    problem: str

    @property
    def unofficial(self) -> bool:
        """Whether the count is none of the official ones."""
        return bool(self.official) and self.count is not None and self.count not in self.official


@dataclass(frozen=True)
class BenchmarkCheck:
    """What a benchmark's folder holds.

    Attributes:
        benchmark: its name.
        data: the folder.
        protocol: the way of asking.
        files: what it reads.
        questions: split -> how many.
        answered: how many questions have a right answer.
        pictures: how many different ones the questions name.
        opened: how many of them were opened.
        missing_pictures: names of those that are not there.
        bad_pictures: what is wrong with those that cannot be opened.
        problems: whatever else keeps it from being scored or asked.
    """

    benchmark: str
    data: str
    protocol: str
    files: tuple[FileCheck, ...]
    questions: dict[str, int]
    answered: int
    pictures: int
    opened: int
    missing_pictures: tuple[str, ...]
    bad_pictures: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def can_score(self) -> bool:
        """Whether an existing answers file can be scored."""
        broken = any(f.problem or (f.required and not f.found) for f in self.files)
        return bool(self.questions) and self.answered > 0 and not broken

    @property
    def can_ask(self) -> bool:
        """Whether every question can be put to a model."""
        lacking = self.missing_pictures or self.bad_pictures or self.problems
        broken = any(f.problem or (f.required and not f.found) for f in self.files)
        return bool(self.questions) and not lacking and not broken

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self) | {"can_score": self.can_score, "can_ask": self.can_ask}


def check_benchmark(
    name: str,
    data: Path,
    *,
    protocol: str = "",
    splits: Sequence[str] = (),
    pictures: Depth = "some",
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> BenchmarkCheck:
    """Look over a benchmark's folder.

    Args:
        name: of the benchmark.
        data: the folder that holds all benchmarks, or the benchmark's own.
        protocol: the way of asking; empty for the benchmark's default.
        splits: which ones; empty for those that `evaluate` would ask.
        pictures: look for all and open a few ("some"), open all ("all"), or neither ("none").
        progress: called with pictures done, in all, and what they are.

    Raises:
        HydraError: the benchmark or the protocol is unknown, or there is no such folder.
    """
    benchmark = Benchmark.open(name, data, protocol)
    problems: list[str] = []
    files = _files(benchmark, data, problems)
    samples = _samples(benchmark, splits, problems)
    named = {s.image.key: s.image for s in samples if s.image is not None}
    lacking, bad, opened = _look_at(list(named.values()), data, pictures, progress)
    return BenchmarkCheck(
        benchmark=name,
        data=str(data),
        protocol=benchmark.protocol,
        files=files,
        questions=dict(Counter(sample.split for sample in samples)),
        answered=sum(bool(sample.reference) for sample in samples),
        pictures=len(named),
        opened=opened,
        missing_pictures=tuple(lacking),
        bad_pictures=tuple(bad),
        problems=tuple(problems),
    )


def _files(benchmark: Benchmark, data: Path, problems: list[str]) -> tuple[FileCheck, ...]:
    try:
        files = benchmark.files()
    except DataError as error:
        problems.append(error.what)
        return ()
    return tuple(_file(file, data) for file in files)


def _file(file: DataFile, data: Path) -> FileCheck:
    found = file.path.exists()
    count, problem = None, ""
    if found and file.count is not None:
        try:
            count = file.count()
        except HydraError as error:
            problem = error.what
    inside = _inside(file.path, data)
    return FileCheck(inside, file.what, file.required, found, count, file.official, problem)


def _samples(benchmark: Benchmark, splits: Sequence[str], problems: list[str]) -> list[Sample]:
    try:
        samples = benchmark.samples(splits=splits)
        doubled = [key for key, n in Counter(s.key for s in samples).items() if n > 1]
        if doubled:
            problems.append(f"{len(doubled):,} questions are there twice, first {doubled[0]}")
        unasked = Counter[str]()
        for sample in samples:
            try:
                benchmark.prompt(sample)
            except DataError as error:
                unasked[error.fix] += 1
                if sum(unasked.values()) == 1:
                    problems.append(error.what)
        if unasked:
            count = sum(unasked.values())
            problems.append(f"{count:,} questions have no prompt. {next(iter(unasked))}")
    except DataError as error:
        if error.what not in problems:
            problems.append(error.what)
        return []
    return samples


def _look_at(
    pictures: Sequence[Picture],
    data: Path,
    depth: Depth,
    progress: Callable[[int, int, str], None],
) -> tuple[list[str], list[str], int]:
    """Return the names of missing pictures, what is wrong with broken ones, and how many opened."""
    if depth == "none":
        return [], [], 0
    spread = pictures if depth == "all" else pictures[:: max(1, len(pictures) // _SOME)]
    chosen = {picture.key for picture in spread}
    missing, bad, opened = [], [], 0
    for number, picture in enumerate(pictures, 1):
        if not picture.exists():
            missing.append(_name(picture, data))
        elif picture.key in chosen:
            try:
                picture.open()
                opened += 1
            except DataError as error:
                bad.append(error.what)
        progress(number, len(pictures), "looking at images")
    return missing, bad, opened


def _name(picture: Picture, data: Path) -> str:
    return _inside(picture.path, data) if isinstance(picture, FilePicture) else picture.key


def _inside(path: Path, data: Path) -> str:
    return str(path.relative_to(data)) if path.is_relative_to(data) else str(path)
