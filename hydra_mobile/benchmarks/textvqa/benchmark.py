"""The benchmark TextVQA: questions about text in pictures, ten people's answers to each.

Reads the official annotations, and LLaVA's file of questions for the OCR tokens in its prompts.
The metric is the M4C evaluator's; it depends on how many of the ten gave the same answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra_mobile.benchmarks.base import (
    PROTOCOLS,
    SHORT_ANSWER,
    Benchmark,
    DataFile,
    Joined,
    Metric,
    Sample,
    check_complete,
)
from hydra_mobile.benchmarks.metric import share
from hydra_mobile.benchmarks.shared.submission_formats import file_name, write_list
from hydra_mobile.benchmarks.textvqa.files import (
    find_annotations,
    prompt_of,
    read_entries,
    read_prompts,
    read_samples,
    read_tokens,
)
from hydra_mobile.benchmarks.textvqa.m4c import normalize, soft_accuracy
from hydra_mobile.benchmarks.textvqa.matching import join_answers
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.json_text import dumps

NO_OCR = "llava-1.5-no-ocr"
_OFFICIAL = {"val": 5000, "test": 5734, "train": 34602}
_QUESTIONS = "llava_textvqa_val_v051_ocr.jsonl"


class TextVQA(Benchmark):
    """Questions whose answer has to be read in the picture."""

    name = "textvqa"
    title = "TextVQA"
    about = "short answers that have to be read in the image"
    primary = "M4C accuracy, its known quirks reproduced"
    also = "credit histogram"
    source = "https://textvqa.org/dataset"
    licenses = MappingProxyType({"TextVQA": "CC BY 4.0"})
    folders = ("textvqa", "TextVQA")
    max_new_tokens = 128
    protocols = (*PROTOCOLS, NO_OCR)
    suffix = SHORT_ANSWER

    # -- questions --------------------------------------------------------------------------

    def splits(self) -> Sequence[str]:
        """Return the splits whose annotations are there, `val` first."""
        if not self._annotations:
            self.places.require("TextVQA_0.5.1_val.json", what="TextVQA's questions and answers")
        return list(self._annotations)

    def default_splits(self) -> Sequence[str]:
        """Return `val`, or the first there is."""
        return self.splits()[:1]

    def prompt(self, sample: Sample) -> str:
        """Return the prompt of LLaVA's file, OCR tokens and suffix included.

        Raises:
            DataError: the protocol has OCR tokens, and no file that holds them was found.
        """
        if self.protocol == NO_OCR:
            return prompt_of(sample.question, None) + SHORT_ANSWER
        image = sample.cluster
        asked = self._prompts.get((image, sample.question.lower()))
        if asked is not None:
            return asked
        if image in self._tokens:
            return prompt_of(sample.question, self._tokens[image]) + SHORT_ANSWER
        raise DataError(
            f"There are no OCR tokens for question {sample.key} of image {image}: expected it in "
            f"{self.places.expected(_QUESTIONS)}.",
            f"Put LLaVA's {_QUESTIONS} there, or ask without tokens: --protocol {NO_OCR}",
        )

    def table_cells(self, sample: Sample) -> dict[str, str]:
        """Return the question without OCR tokens; the answer is the list of the ten people's."""
        given = sample.meta["answers"]
        answer = {"answer": dumps(given, ensure_ascii=False) if given else ""}
        return super().table_cells(sample) | answer

    def files(self) -> list[DataFile]:
        """Return annotations, LLaVA's questions and the pictures."""
        found = self._annotations or {"val": self.places.expected("TextVQA_0.5.1_val.json")}
        questions_and_answers = [
            DataFile(
                path,
                f"questions and answers, {split}",
                required=number == 0,
                count=lambda path=path: len(read_entries(path)),  # type: ignore[misc]
                official=(_OFFICIAL[split],),
            )
            for number, (split, path) in enumerate(found.items())
        ]
        questions = DataFile(
            self.places.find(_QUESTIONS, above=True) or self.places.expected(_QUESTIONS),
            "LLaVA's prompts with OCR tokens",
            required=False,
            count=lambda: len(self._prompts),
            official=(5000,),
        )
        pictures = DataFile(self._pictures(next(iter(found))), "images", required=False)
        return [*questions_and_answers, questions, pictures]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the files used; see `Benchmark.protocol_facts`."""
        return super().protocol_facts() | {
            "ocr_tokens": self.protocol != NO_OCR,
            "files": {path.name: len(read_entries(path)) for path in self._annotations.values()},
        }

    @cached_property
    def _annotations(self) -> dict[str, Path]:
        return find_annotations(self.places)

    @cached_property
    def _prompts(self) -> dict[tuple[str, str], str]:
        """(image id, question in lower case) -> prompt; empty without LLaVA's file."""
        path = self.places.find(_QUESTIONS, above=True)
        return read_prompts(path) if path else {}

    @cached_property
    def _tokens(self) -> dict[str, list[str]]:
        """Image id -> tokens of Rosetta's files, for questions that LLaVA's file lacks."""
        tokens: dict[str, list[str]] = {}
        for split in self._annotations:
            path = self.places.find(
                f"TextVQA_Rosetta_OCR_v0.2_{split}.json", f"rosetta_ocr_tokens_{split}.jsonl"
            )
            tokens |= read_tokens(path) if path else {}
        return tokens

    def _pictures(self, split: str) -> Path:
        name = "test_images" if split == "test" else "train_images"
        return self.places.find(name, above=True) or self.places.expected(name)

    def read(self, split: str) -> Iterator[Sample]:
        """Yield the questions of a split's annotations; see `Benchmark.read`."""
        return read_samples(self._annotations[split], split, self._pictures(split))

    # -- answers ----------------------------------------------------------------------------

    def parse(self, sample: Sample, answer: str) -> str:
        """Return the answer as the M4C evaluator compares it."""
        return normalize(answer)

    def is_correct(self, sample: Sample, answer: str) -> bool:
        """Say whether three or more people gave the answer; see `credit` for less than that."""
        return self.credit(sample, answer) >= 0.9

    def credit(self, sample: Sample, answer: str) -> float:
        """Return what the answer is worth: 0, 0.3, 0.6, 0.9 or 1."""
        given = sample.meta["answers"]
        return soft_accuracy(answer, given) if given else 0.0

    def join(self, path: Path, samples: Sequence[Sample]) -> Joined:
        """Join LLaVA's lines by (image, question), official ones by the question's number."""
        return join_answers(path, samples, self.protocol, self.protocol != NO_OCR)

    def write_submission(
        self, samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
    ) -> list[Path]:
        """Write LLaVA's lines and the official list of {question_id, answer}."""
        official = [
            {"question_id": _number(sample.meta["number"]), "answer": answers[sample.key]}
            for sample in samples
            if sample.key in answers
        ]
        return [
            self.write_llava_lines(samples, answers, folder, model_id),
            write_list(folder / file_name(model_id, ".json"), official),
        ]

    def llava_id(self, sample: Sample) -> str | int:
        """Return the image's id; two questions may have it."""
        found: str | int = sample.meta["question_id"]
        return found

    # -- scoring ----------------------------------------------------------------------------

    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        """Return the accuracy of each split; none for a split without answers (test)."""
        answered = check_complete(samples, answers, partial)
        metrics: list[Metric] = []
        for split in dict.fromkeys(s.split for s in answered if s.meta["answers"]):
            chosen = [s for s in answered if s.split == split and s.meta["answers"]]
            values = [self.credit(sample, answers[sample.key]) for sample in chosen]
            clusters = [sample.cluster for sample in chosen]
            empty = sum(not answers[sample.key].strip() for sample in chosen)
            metrics.append(
                share(split, "all", values, clusters, headline=not metrics, unread=empty)
            )
        return metrics

    def details(self, samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
        """Return how many answers are worth 0, 0.3, 0.6, 0.9 and 1."""
        worth = Counter(
            self.credit(sample, answers[sample.key])
            for sample in samples
            if sample.key in answers and sample.meta["answers"]
        )
        return {"credits": {f"{value:.1f}": worth[value] for value in sorted(worth)}}


def _number(question_id: str) -> int | str:
    return int(question_id) if question_id.isdecimal() else question_id
