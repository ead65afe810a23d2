"""The benchmark that a file of someone's own is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.base import DataFile, Sample
from hydra_mobile.benchmarks.items import AS_WRITTEN, LLAVA, Item, ItemBenchmark
from hydra_mobile.benchmarks.own.lines import read_items
from hydra_mobile.benchmarks.own.names import FileName
from hydra_mobile.benchmarks.scoring import SCORES
from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.core.registry import nearest


class OwnTestSet(ItemBenchmark):
    """A file of questions. Questions are asked as they are written; options follow them.

    A class is made for each file (`benchmark_of`), because a benchmark is known by its class.
    """

    name = "own"
    title = "Own test set"
    about = "questions of your own"
    primary = "mean credit"
    also = "each kind"
    official = False
    max_new_tokens = 64
    wordings = MappingProxyType({"as-written": AS_WRITTEN, "llava-1.5": LLAVA, "mobilevlm": LLAVA})
    #: The file, and how its questions are scored that do not say so.
    file: ClassVar[Path] = Path()
    score_name: ClassVar[str] = ""

    def __init__(self, data: Path, protocol: str = "") -> None:
        if not self.file.is_file():
            raise DataError(
                f"there is no test set {self.file}",
                "Give a jsonl file: docs/own_benchmark.md says what is in it.",
                where=str(self.file),
                found="no such file",
            )
        super().__init__(self.file, protocol)
        self._beside = data if data.is_dir() else self.file.parent

    def files(self) -> list[DataFile]:
        """Return the file."""
        what = "questions and answers"
        return [DataFile(self.file, what, required=True, count=lambda: len(self.samples()))]

    def items(self, split: str) -> Iterator[Item]:
        """Yield the questions; see `ItemBenchmark.items`."""
        return read_items(self.file, self.score_name, self._beside)

    def details(self, samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
        """Return how many questions are scored in which way."""
        return {"scored_by": dict(Counter(SCORES[s.meta["score"]].title for s in samples))}


def benchmark_of(name: FileName) -> type[OwnTestSet]:
    """Return the benchmark that a file is.

    Raises:
        HydraError: there is no such score.
    """
    if name.score and name.score not in SCORES:
        raise HydraError(f"There is no score `{name.score}`.", nearest(name.score, SCORES))
    stem = re.sub(r"[^\w.-]+", "_", name.path.stem).strip("._-") or "test"
    # A report tells benchmarks apart by their names.
    called = f"own-{stem}" if stem in BENCHMARKS else stem
    fields = {"name": called, "title": stem, "file": name.path, "score_name": name.score}
    return type("OwnTestSet", (OwnTestSet,), {**fields, "__doc__": OwnTestSet.__doc__})
