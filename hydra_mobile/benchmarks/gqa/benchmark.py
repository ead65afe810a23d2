"""The benchmark GQA: one-word questions about scenes, testdev-balanced.

Reads the official questions, or GQA-OOD's two files (a subset of the same questions, whose score
is another quantity). An answer is right if it equals the official one after LLaVA's conversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra_mobile.benchmarks.base import (
    SHORT_ANSWER,
    AnswerMatcher,
    Benchmark,
    DataFile,
    Joined,
    Metric,
    Sample,
    check_complete,
)
from hydra_mobile.benchmarks.gqa.scores import accuracies, distribution, read_answer
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.shared.answer_files import (
    asks,
    read_json_file,
    read_json_lines,
    read_records,
)
from hydra_mobile.benchmarks.shared.submission_formats import write_list
from hydra_mobile.core.errors import DataError

_WHOLE = "testdev_balanced"
_OFFICIAL = 12578
_ASKED = "llava_gqa_testdev_balanced.jsonl"
_OOD = {"head": ("ood_testdev_head.json", 1733), "tail": ("ood_testdev_tail.json", 1063)}
_HOMES = ("", "data/", "questions1.2/", "data/questions1.2/", "questions/", "data/questions/")
_SUBSET = (
    "GQA-OOD: a subset of testdev-balanced, to check the scorer with; not comparable with the "
    "published scores of the full set"
)
# Steps of this kind only name what the others found; the official tool does not count them.
_UNCOUNTED = ("exist", "query: name", "choose name")


class Gqa(Benchmark):
    """Questions of testdev-balanced; the kinds are the structural types."""

    name = "gqa"
    title = "GQA"
    about = "one-word questions about scenes"
    also = "binary and open, structural and semantic types, steps, words"
    source = "https://cs.stanford.edu/people/dorarad/gqa/download.html"
    licenses = MappingProxyType({"GQA": "CC BY 4.0"})
    folders = ("gqa", "GQA", "gqa_ood", "gqa-ood")
    max_new_tokens = 128
    suffix = SHORT_ANSWER

    def __init__(self, data: Path, protocol: str = "") -> None:
        super().__init__(data, protocol)
        self._files: dict[Path, dict[str, dict[str, Any]]] = {}

    # -- questions --------------------------------------------------------------------------

    def splits(self) -> Sequence[str]:
        """Return testdev-balanced, or the two files of GQA-OOD where that is all there is."""
        return list(self._sources)

    def files(self) -> list[DataFile]:
        """Return questions, LLaVA's prompts and pictures."""
        official = {_WHOLE: _OFFICIAL} | {split: count for split, (_, count) in _OOD.items()}
        questions = [
            DataFile(
                path,
                f"questions and answers, {split}",
                required=True,
                count=lambda path=path: len(self._questions(path)),  # type: ignore[misc]
                official=(official[split],),
            )
            for split, path in self._sources.items()
        ]
        prompts = DataFile(
            self.places.find(_ASKED, above=True) or self.places.expected(_ASKED),
            "LLaVA's prompts; without it they are made by the same rule",
            required=False,
            count=lambda: len(self._asked),
            official=(_OFFICIAL,),
        )
        return [*questions, prompts, DataFile(self._pictures(), "images", required=False)]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the files used; see `Benchmark.protocol_facts`."""
        return super().protocol_facts() | {
            "files": {path.name: len(self._questions(path)) for path in self._sources.values()},
            "notes": [] if _WHOLE in self._sources else [_SUBSET],
        }

    @cached_property
    def _sources(self) -> dict[str, Path]:
        """Split -> file of questions, found or expected."""
        given = self.places.file
        if given:
            part = next((split for split in _OOD if split in given.stem.split("_")), _WHOLE)
            return {part: given}
        whole = f"{_WHOLE}_questions.json"
        if found := self.places.find(*(home + whole for home in _HOMES)):
            return {_WHOLE: found}
        parts = {
            split: self.places.find(*(home + name for home in _HOMES))
            for split, (name, _) in _OOD.items()
        }
        there = {split: path for split, path in parts.items() if path}
        return there if len(there) == len(_OOD) else {_WHOLE: self.places.expected(whole)}

    def _questions(self, path: Path) -> dict[str, dict[str, Any]]:
        if path in self._files:
            return self._files[path]
        if not path.is_file():
            self.places.require(path.name, what="GQA's questions and answers")
        value = read_json_file(path)
        if not isinstance(value, dict) or not all(isinstance(q, dict) for q in value.values()):
            raise DataError(
                f"{path} is no file of GQA's questions: expected an object of question id to "
                "question.",
                f"Give {_WHOLE}_questions.json, or the folder with it.",
            )
        self._files[path] = value
        return value

    @cached_property
    def _asked(self) -> dict[str, str]:
        """Id -> prompt of LLaVA's file; none where it is missing."""
        path = self.places.find(_ASKED, above=True)
        if path is None:
            return {}
        return {str(record.id()): record.text("text") for record in read_json_lines(path)}

    def _pictures(self) -> Path:
        names = ("images", "data/images")
        return self.places.find(*names, above=True) or self.places.expected("images")

    def read(self, split: str) -> list[Sample]:
        """Return the balanced questions, those of a picture together; see `Benchmark.read`."""
        path, folder = self._sources[split], self._pictures()
        pictures: dict[str, list[Sample]] = {}
        for number, question in self._questions(path).items():
            try:
                if question.get("isBalanced", True):
                    sample = _sample(number, question, split, folder, self._asked)
                    pictures.setdefault(sample.cluster, []).append(sample)
            except (KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"{path}, question {number} lacks {error} of GQA's fields."
                    if isinstance(error, KeyError)
                    else f"{path}, question {number} is not as GQA's are: {error}.",
                    "Download the questions again.",
                ) from error
        if not pictures:
            raise DataError(f"{path} holds no balanced questions.")
        return [sample for group in pictures.values() for sample in group]

    # -- answers ----------------------------------------------------------------------------

    def parse(self, sample: Sample, answer: str) -> str:
        """Read an answer as LLaVA's conversion does."""
        return read_answer(answer)

    def join(self, path: Path, samples: Sequence[Sample]) -> Joined:
        """Join LLaVA's answers or the official tool's predictions; see `Benchmark.join`."""
        joiner = AnswerMatcher(samples, path)
        questions = {sample.key: sample.question for sample in samples}
        splits = {sample.split for sample in samples}
        elsewhere = {
            number
            for split, source in self._sources.items()
            for number, question in self._questions(source).items()
            if split not in splits or not question.get("isBalanced", True)
        }
        if _WHOLE not in self._sources:
            # The rest of the full set, whose answers are made by the same run.
            elsewhere |= set(self._asked) - set(questions)
        for record in read_records(path):
            if "key" in record.value:
                joiner.add_own(record)
                continue
            number = record.id("question_id", "questionId")
            text = record.text("text", "prediction", "answer")
            if number in elsewhere:
                joiner.set_aside()
            elif (
                number in questions and record.prompt and not asks(record.prompt, questions[number])
            ):
                joiner.mismatched(record.where)
            else:
                joiner.add(number, text, record.where)
            if "prediction" in record.value and text != read_answer(text):
                joiner.note(
                    "predictions are not lower-case, or end in a full stop: they are read as "
                    "LLaVA's conversion would write them; GQA's own tool counts them as wrong"
                )
        return joiner.joined()

    def write_submission(
        self, samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
    ) -> list[Path]:
        """Write LLaVA's lines, and the predictions that GQA's eval.py reads."""
        official = [
            {"questionId": sample.key, "prediction": read_answer(answers[sample.key])}
            for sample in samples
            if sample.key in answers
        ]
        return [
            self.write_llava_lines(samples, answers, folder, model_id),
            write_list(folder / "testdev_balanced_predictions.json", official),
        ]

    # -- scoring ----------------------------------------------------------------------------

    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        """Return accuracy: all (headline), binary and open, by type, steps and words."""
        answered = check_complete(samples, answers, partial)
        splits = list(dict.fromkeys(sample.split for sample in answered))
        right = {s.key: float(self.is_correct(s, answers[s.key])) for s in answered}
        metrics = accuracies("all", answered, right, headline=True)
        if len(splits) > 1:
            for split in splits:
                chosen = [sample for sample in answered if sample.split == split]
                metrics += accuracies(split, chosen, right)
        return metrics

    def details(self, samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
        """Return the right answers and the official tool's distribution score (lower is better)."""
        answered = [sample for sample in samples if sample.key in answers]
        right = sum(self.is_correct(sample, answers[sample.key]) for sample in answered)
        return {
            "correct": right,
            "n": len(answered),
            "empty": sum(not answers[sample.key].strip() for sample in answered),
            "distribution": distribution(answered, answers),
        }


def _sample(
    number: str, question: dict[str, Any], split: str, folder: Path, asked: Mapping[str, str]
) -> Sample:
    # Files with fewer fields than the official ones give fewer parts to break the score down by.
    text, types = question["question"], question.get("types") or {}
    if not isinstance(text, str) or not isinstance(question["answer"], str):
        raise TypeError(f"question {text!r}, answer {question['answer']!r}, expected texts")
    operations = question.get("semantic")
    steps = [f"{step['operation']}: {step['argument']}" for step in operations or ()]
    counted = sum(not any(word in step for word in _UNCOUNTED) for step in steps)
    picture = str(question.get("imageId", number))
    return Sample(
        key=number,
        image=FilePicture(folder / f"{picture}.jpg"),
        question=text,
        split=split,
        kind=types.get("structural") or "",
        reference=question["answer"],
        cluster=picture,
        meta={
            "prompt": asked.get(number, text + SHORT_ANSWER),
            "semantic": types.get("semantic"),
            "steps": None if operations is None else counted,
            "words": len(text.split()),
            "group": (question.get("groups") or {}).get("global"),
        },
    )
