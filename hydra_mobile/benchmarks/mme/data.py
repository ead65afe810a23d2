"""Where MME's questions and right answers come from in the tree that a user has.

Right answers stand in the release; where that is missing, in the template of the official tool; and
where that is missing too, in results, those that are to be scored or any others.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from hydra_mobile.benchmarks.mme.files import (
    Asked,
    Place,
    has_results,
    is_release,
    read_questions,
    read_release,
    read_results,
)
from hydra_mobile.benchmarks.shared.locate import DataRoots
from hydra_mobile.core.errors import DataError

ASKED = "llava_mme.jsonl"
RELEASE = "MME_Benchmark_release_version"
_RESULTS = (
    "eval_tool/Your_Results",
    "Your_Results",
    f"{RELEASE}/eval_tool/Your_Results",
    "eval_tool/LaVIN",
)


class MmeData:
    """The files of one tree.

    Args:
        places: where the files are looked for.
    """

    def __init__(self, places: DataRoots) -> None:
        self.places = places
        #: Results to be scored, which hold right answers too; None while none are known.
        self.answers: Path | None = None

    @cached_property
    def asked(self) -> list[Asked]:
        """LLaVA's questions; none where its file is missing."""
        path = self.places.find(ASKED)
        return read_questions(path) if path else []

    @cached_property
    def release(self) -> Path | None:
        """The folder with the subtasks; None where there is none."""
        for name in (RELEASE, "images", "MME_Benchmark", ""):
            for folder in self.places.folders:
                if is_release(folder / name):
                    return folder / name
        return None

    @cached_property
    def _of_release(self) -> dict[Place, str]:
        """The right answers of the release; none where it has its pictures alone."""
        return read_release(self.release) if self.release else {}

    def source(self) -> Path | None:
        """Return what the right answers are read from: release, template, or the answers."""
        if self.release and self._of_release:
            return self.release
        for name in (*_RESULTS, ""):
            for folder in self.places.folders:
                if has_results(folder / name):
                    return folder / name
        if self.answers and not is_lines(self.answers):
            return self.answers
        return self._any_results

    @cached_property
    def _any_results(self) -> Path | None:
        """Results of whatever model in the tree: the largest, for they hold right answers too."""
        sizes = {
            file.parent: sum(1 for _ in read_results(file.parent))
            for folder in self.places.folders
            for depth in ("*", "*/*", "*/*/*")
            for file in folder.glob(f"{depth}/existence.txt")
        }
        return max(sizes, key=lambda folder: sizes[folder], default=None)

    @property
    def independent(self) -> bool:
        """Whether the right answers stand somewhere else than in the answers file."""
        source = self.source()
        return not (source and self.answers and source.resolve() == self.answers.resolve())

    def truth(self) -> dict[Place, str]:
        """Return the right answers in lower case.

        Raises:
            DataError: there are none, or a file of them is broken.
        """
        source = self.source()
        if source is None:
            raise DataError(
                f"{self.places.given} holds no right answers of MME: neither {RELEASE} with its "
                "text files nor eval_tool/Your_Results is there.",
                "Give the folder `mme` (LLaVA: `MME`) with the release in it.",
            )
        if source == self.release:
            return self._of_release
        return {result.place: result.truth for result in read_results(source)}


def is_lines(path: Path) -> bool:
    """Say whether answers are lines of JSON, not the official tool's text files."""
    return path.is_file() and path.suffix != ".txt"
