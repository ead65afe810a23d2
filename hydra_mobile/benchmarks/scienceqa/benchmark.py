"""The benchmark ScienceQA: school questions with two to five choices, half of them with a picture.

Reads problems.json and pid_splits.json of the official release and LLaVA's file of prompts. The
headline is the accuracy over the questions that have a picture (SQA-IMG).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from hydra_mobile.benchmarks.base import (
    CHOICE,
    PROTOCOLS,
    Benchmark,
    DataFile,
    Joined,
    Metric,
    Sample,
    check_complete,
)
from hydra_mobile.benchmarks.metric import share
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.scienceqa.answers import join_answers, write_answers
from hydra_mobile.benchmarks.scienceqa.problems import (
    LETTERS,
    Problem,
    count_test,
    read_llava,
    read_problems,
    read_splits,
)
from hydra_mobile.benchmarks.shared.choice_letters import FAILED, read_scienceqa

#: MobileVLM's script gives pictures to the image processor as they are, without padding.
NO_PADDING = "mobilevlm-no-padding"
_PROBLEMS, _SPLITS, _LLAVA = "problems.json", "pid_splits.json", "llava_test_CQM-A.json"


class ScienceQA(Benchmark):
    """Multiple-choice questions; a letter is the answer."""

    name = "scienceqa"
    title = "ScienceQA"
    about = "school questions with two to five choices, half of them with an image"
    primary = "accuracy over questions with an image"
    also = "all, subjects, contexts, grades; unparsed and out-of-range letters"
    source = "https://scienceqa.github.io"
    licenses = MappingProxyType({"ScienceQA": "CC BY-NC-SA 4.0"})
    folders = ("sqa", "scienceqa", "ScienceQA")
    columns = (*Benchmark.columns, "hint", *LETTERS)
    max_new_tokens = 1024
    protocols = (*PROTOCOLS, NO_PADDING)
    suffix = CHOICE

    def __init__(self, data: Path, protocol: str = "") -> None:
        super().__init__(data, protocol)
        #: How a picture becomes a square, where it is not as the model's own recipe says.
        self.image_fit: Literal["crop"] | None = "crop" if protocol == NO_PADDING else None

    # -- questions --------------------------------------------------------------------------

    def splits(self) -> Sequence[str]:
        """Return the splits all of whose questions are there."""
        return list(self._ids)

    def default_splits(self) -> Sequence[str]:
        """Return `test`."""
        return ("test",)

    def table_cells(self, sample: Sample) -> dict[str, str]:
        """Return question, hint and choices; the picture's name has the problem's id in it."""
        problem = self._problems[sample.key]
        cells = {
            "question": problem.stem,
            "hint": problem.hint,
            **dict(zip(LETTERS, problem.options, strict=False)),
            "answer": sample.reference,
            "category": problem.category,
        }
        if problem.image:
            cells["image_path"] = f"{sample.key}/{problem.image}"
        return cells

    def files(self) -> list[DataFile]:
        """Return problems, splits, LLaVA's prompts and the pictures."""
        problems = self.places.find(_PROBLEMS)
        llava = self.places.find(_LLAVA)
        alone = problems is None and llava is not None
        return [
            DataFile(
                problems or self.places.expected(_PROBLEMS),
                "questions, choices, answers",
                required=not alone,
                count=lambda: len(read_problems(self.places.require(_PROBLEMS, what="problems"))),
                official=(21208,),
            ),
            DataFile(
                self.places.expected(_SPLITS),
                "which questions are in test",
                required=False,
                count=lambda: count_test(self.places.expected(_SPLITS)),
                official=(4241,),
            ),
            DataFile(
                llava or self.places.expected(_LLAVA),
                "LLaVA's prompts of test",
                required=alone,
                count=lambda: len(self._asked),
                official=(4241,),
            ),
            DataFile(self._pictures("test"), "images", required=False),
        ]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the files used; see `Benchmark.protocol_facts`."""
        names = [name for name in (_PROBLEMS, _SPLITS, _LLAVA) if self.places.find(name)]
        return super().protocol_facts() | {"files": names}

    @cached_property
    def _asked(self) -> dict[str, Problem]:
        """Id -> prompt and letter of LLaVA's file; empty where it is missing."""
        path = self.places.find(_LLAVA)
        return read_llava(path) if path else {}

    @cached_property
    def _problems(self) -> dict[str, Problem]:
        path = self.places.find(_PROBLEMS)
        if path is None and self._asked:
            # Enough to score with: letters, and how many choices a question has.
            return self._asked
        return read_problems(path or self.places.require(_PROBLEMS, _LLAVA, what="the questions"))

    @cached_property
    def _ids(self) -> dict[str, list[str]]:
        """Split -> ids of its questions."""
        path = self.places.find(_SPLITS)
        if path is not None:
            return read_splits(path, self._problems)
        ids: dict[str, list[str]] = {"test": []}
        for key, problem in self._problems.items():
            ids.setdefault(problem.split, []).append(key)
        return ids

    def _pictures(self, split: str) -> Path:
        split = split.removeprefix("mini")
        names = (f"images/{split}", f"{split}", "images")
        return self.places.find(*names) or self.places.expected(names[0])

    def read(self, split: str) -> list[Sample]:
        """Return the questions of a split; see `Benchmark.read`."""
        samples = []
        for key in self._ids[split]:
            problem = self._problems[key]
            asked = self._asked.get(key, problem)
            pictures = self._pictures(problem.split or split)
            samples.append(
                Sample(
                    key=key,
                    image=FilePicture(pictures / key / problem.image) if problem.image else None,
                    question=asked.prompt,
                    split=split,
                    kind="image" if problem.image else "text",
                    reference=problem.letter,
                    cluster=key,
                    meta={
                        "choices": problem.choices,
                        "question": problem.question,
                        "subject": problem.subject,
                        "grade": problem.grade,
                        "hint": problem.has_hint,
                    },
                )
            )
        return samples

    # -- answers ----------------------------------------------------------------------------

    def parse(self, sample: Sample, answer: str) -> str:
        """Read the letter by LLaVA's rules; "FAILED" for none."""
        return read_scienceqa(answer)

    def join(self, path: Path, samples: Sequence[Sample]) -> Joined:
        """Join LLaVA's lines, its *_output.jsonl or its results file by the problem's id."""
        return join_answers(path, samples)

    def write_submission(
        self, samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
    ) -> list[Path]:
        """Write LLaVA's lines, and the two files that its scorer makes of them."""
        return write_answers(samples, answers, folder, model_id)

    # -- scoring ----------------------------------------------------------------------------

    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        """Return the accuracies; with `partial`, a missing answer is wrong, as officially."""
        check_complete(samples, answers, partial)
        metrics: list[Metric] = []
        for split in dict.fromkeys(sample.split for sample in samples):
            chosen = [sample for sample in samples if sample.split == split]
            for kind, belongs in _PARTS.items():
                part = [sample for sample in chosen if belongs(sample)]
                if part:
                    metrics.append(_accuracy(split, kind, part, answers, not metrics))
        return metrics

    def details(self, samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
        """Return how many answers could not be read, and how many name no choice."""
        read = [(s, read_scienceqa(answers[s.key])) for s in samples if s.key in answers]
        return {
            "failed": sum(letter == FAILED for _, letter in read),
            "out_of_range": sum(_beyond(sample, letter) for sample, letter in read),
            "missing_counted_as_wrong": sum(sample.key not in answers for sample in samples),
        }


#: The first that has questions is the headline.
_PARTS: dict[str, Callable[[Sample], bool]] = {
    "image": lambda sample: sample.kind == "image",
    "all": lambda sample: True,
    "text": lambda sample: sample.kind == "text",
    "subject:natural": lambda sample: sample.meta["subject"] == "natural science",
    "subject:social": lambda sample: sample.meta["subject"] == "social science",
    "subject:language": lambda sample: sample.meta["subject"] == "language science",
    "context:text": lambda sample: bool(sample.meta["hint"]),
    "context:none": lambda sample: sample.kind == "text" and sample.meta["hint"] is False,
    "grade:1-6": lambda sample: 1 <= sample.meta["grade"] <= 6,
    "grade:7-12": lambda sample: 7 <= sample.meta["grade"] <= 12,
}


def _accuracy(
    split: str, kind: str, samples: Sequence[Sample], answers: Mapping[str, str], headline: bool
) -> Metric:
    read = [read_scienceqa(answers.get(sample.key, FAILED)) for sample in samples]
    right = [letter == s.reference for s, letter in zip(samples, read, strict=True)]
    unread = [
        letter == FAILED or _beyond(s, letter) for s, letter in zip(samples, read, strict=True)
    ]
    constant = max(sum(s.reference == letter for s in samples) for letter in LETTERS)
    return share(
        split,
        kind,
        right,
        [sample.cluster for sample in samples],
        headline=headline,
        majority=constant / len(samples),
        unread=sum(unread),
    )


def _beyond(sample: Sample, letter: str) -> bool:
    return letter != FAILED and letter not in LETTERS[: sample.meta["choices"]]
