"""The benchmark POPE: is an object there? On 500 COCO pictures, three choices of absent objects.

Reads the official annotations in both versions (before and since October 2023) and LLaVA's file
of questions. Answers are read by the official rule; the headline is the mean F1 of the splits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra_mobile.benchmarks.base import (
    SHORT_ANSWER,
    Benchmark,
    DataFile,
    Joined,
    Metric,
    Sample,
    check_complete,
)
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.pope.files import QUESTIONS, PopeData, Question, field
from hydra_mobile.benchmarks.pope.matching import join_pope
from hydra_mobile.benchmarks.pope.scores import (
    NAMES,
    accuracy,
    counts,
    f1,
    five,
    mean_over_splits,
    read_yesno,
)
from hydra_mobile.benchmarks.pope.submission import write_pope
from hydra_mobile.core.errors import DataError

#: Lines of a split's annotations: the older `random` file lacks 90 of the later one's questions.
_OFFICIAL = {"random": (2910, 3000), "popular": (3000,), "adversarial": (3000,)}


class Pope(Benchmark):
    """Existence questions of the splits random, popular and adversarial."""

    name = "pope"
    title = "POPE"
    about = "yes or no: is an object in the image?"
    primary = "mean F1 of the three splits"
    also = "accuracy, precision, recall, yes ratio; pooled"
    source = "https://github.com/AoiDragon/POPE"
    licenses = MappingProxyType({"POPE": "MIT", "COCO images": "Flickr terms of use"})
    folders = ("pope", "POPE")
    max_new_tokens = 128
    suffix = SHORT_ANSWER

    def __init__(self, data: Path, protocol: str = "") -> None:
        super().__init__(data, protocol)
        self.tree = PopeData(self.places)

    # -- questions --------------------------------------------------------------------------

    def splits(self) -> Sequence[str]:
        """Return the three splits, or that of the one file that was given."""
        return self.tree.splits()

    def table_cells(self, sample: Sample) -> dict[str, str]:
        """Return the annotation, with Yes or No as VLMEvalKit reads them and split as category."""
        cells = {"answer": sample.reference.capitalize(), "category": sample.split}
        return super().table_cells(sample) | cells

    def files(self) -> list[DataFile]:
        """Return annotations, questions and pictures."""
        annotations = [
            DataFile(
                self.tree.annotations(split),
                f"questions and labels, {split}",
                required=True,
                count=lambda split=split: len(self.tree.lines(split)),  # type: ignore[misc]
                official=_OFFICIAL[split],
            )
            for split in self.tree.splits()
        ]
        questions = DataFile(
            self.tree.question_file() or self.tree.places.expected(QUESTIONS),
            "LLaVA's questions, by whose ids its answers are joined",
            required=False,
            count=lambda: len(self.tree.questions),
            official=(8910,),
        )
        return [*annotations, questions, DataFile(self.tree.pictures(), "images", required=False)]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the files used; see `Benchmark.protocol_facts`."""
        return super().protocol_facts() | {
            "files": {
                path.name: len(self.tree.lines(split)) for split, path in self.tree.sources()
            },
        }

    @cached_property
    def _asked(self) -> dict[str, dict[str, Any]]:
        """Sample key -> prompt and id of LLaVA's file."""
        return {
            question.key: {"prompt": question.text, "question_id": _id(number)}
            for number, question in self.tree.questions.items()
        }

    def read(self, split: str) -> list[Sample]:
        """Return the questions of a split's annotations; see `Benchmark.read`."""
        pictures = self.tree.pictures()
        samples = []
        for record in self.tree.lines(split):
            image, text = str(field(record, "image")), str(field(record, "text"))
            label = field(record, "label")
            if label not in ("yes", "no"):
                raise DataError(
                    f"{record.file}, {record.where}: `label` is {label!r}, expected yes or no."
                )
            key = Question(split, image, text).key
            samples.append(
                Sample(
                    key=key,
                    image=FilePicture(pictures / image),
                    question=text,
                    split=split,
                    kind="yesno",
                    reference=label,
                    cluster=image,
                    meta={
                        "prompt": text + SHORT_ANSWER,
                        "annotation_id": str(record.value.get("question_id")),
                        **self._asked.get(key, {}),
                    },
                )
            )
        return samples

    # -- answers ----------------------------------------------------------------------------

    def parse(self, sample: Sample, answer: str) -> str:
        """Read yes or no by the official rule."""
        return read_yesno(answer)

    def join(self, path: Path, samples: Sequence[Sample]) -> Joined:
        """Join LLaVA's answers by (split, image, question); see `Benchmark.join`.

        LLaVA's answers name questions by the ids of its own file of questions, which are not the
        annotations'. Lines with `image` and `category` need no such file.
        """
        return join_pope(path, samples, self.tree.questions)

    def write_submission(
        self, samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
    ) -> list[Path]:
        """Write LLaVA's lines and, for complete splits, what POPE's evaluate.py reads."""
        ids = {question.key: number for number, question in self.tree.questions.items()}
        order = {
            split: [sample.key for sample in self.read(split)]
            for split in dict.fromkeys(sample.split for sample in samples)
        }
        return write_pope(samples, answers, folder, model_id, ids=ids, order=order)

    # -- scoring ----------------------------------------------------------------------------

    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        """Return the mean F1 (headline), each split's five numbers, and those of all pooled."""
        answered = check_complete(samples, answers, partial)
        splits = list(dict.fromkeys(sample.split for sample in answered))
        read = [read_yesno(answers[sample.key]) for sample in answered]
        metrics = [
            mean_over_splits(answered, read, splits, "f1 mean", f1, headline=True),
            mean_over_splits(answered, read, splits, "accuracy mean", accuracy),
        ]
        for split in splits:
            chosen = [n for n, sample in enumerate(answered) if sample.split == split]
            metrics += five(split, [answered[n] for n in chosen], [read[n] for n in chosen])
        return metrics + (five("pooled", answered, read) if len(splits) > 1 else [])

    def details(self, samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
        """Return the four counts of every split, and how many answers say neither yes nor no."""
        table: dict[str, Any] = {}
        answered = [sample for sample in samples if sample.key in answers]
        for split in dict.fromkeys(sample.split for sample in answered):
            chosen = [sample for sample in answered if sample.split == split]
            read = [read_yesno(answers[sample.key]) for sample in chosen]
            sums = counts(chosen, read).sum(axis=0)
            plain = [answers[sample.key].lower() for sample in chosen]
            table[split] = {
                "n": len(chosen),
                **{name: int(value) for name, value in zip(NAMES, sums, strict=True)},
                "neither_yes_nor_no": sum(
                    re.search(r"\b(yes|no|not)\b", text) is None for text in plain
                ),
            }
        return table


def _id(number: str) -> int | str:
    """Return an id as LLaVA's file has it."""
    return int(number) if number.isdecimal() else number
