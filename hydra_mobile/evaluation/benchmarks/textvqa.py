"""The benchmark TextVQA: questions about text in pictures, ten people's answers to each.

Reads the official annotations, and LLaVA's file of questions for the OCR tokens in its prompts.
The metric is the M4C evaluator's; it depends on how many of the ten gave the same answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra_mobile.errors import DataError
from hydra_mobile.evaluation.benchmarks.answer_files import (
    Record,
    asks,
    read_json_file,
    read_json_lines,
    read_records,
)
from hydra_mobile.evaluation.benchmarks.base import (
    PROTOCOLS,
    SHORT_ANSWER,
    Benchmark,
    DataFile,
    Joined,
    Joiner,
    Metric,
    Sample,
    check_complete,
)
from hydra_mobile.evaluation.benchmarks.choosing import chosen_splits, limited
from hydra_mobile.evaluation.benchmarks.folders import Places
from hydra_mobile.evaluation.benchmarks.m4c import normalise, soft_accuracy
from hydra_mobile.evaluation.benchmarks.metric import share
from hydra_mobile.evaluation.benchmarks.pictures import FilePicture
from hydra_mobile.evaluation.benchmarks.submissions import (
    file_name,
    llava_line,
    write_lines,
    write_list,
)

NO_OCR = "llava-1.5-no-ocr"
_TOKENS = "Reference OCR token: "
_SPLITS = ("val", "test", "train")
_OFFICIAL = {"val": 5000, "test": 5734, "train": 34602}
_QUESTIONS = "llava_textvqa_val_v051_ocr.jsonl"
_PEOPLE = 10
#: The official reader's forms of a prompt: the question is on the first line, on the second one,
#: or between two marks (LLaVA 1.0).
_OLD_FORM = re.compile(r"OCR tokens: .*?Question: (.*?) Short answer:", re.DOTALL)


def prompt_of(question: str, tokens: Sequence[str] | None) -> str:
    """Return LLaVA's prompt without the suffix.

    Args:
        question: as the annotations have it; `capitalize` lowers all but its first letter.
        tokens: what OCR read in the picture; None to leave the line out.
    """
    asked = question.capitalize()
    return asked if tokens is None else f"{asked}\n{_TOKENS}{', '.join(tokens)}"


def question_in(prompt: str) -> str | None:
    """Return the question of a prompt, lower-case, as the official reader finds it; None if not."""
    old = _OLD_FORM.match(prompt)
    if old:
        return old.group(1).lower()
    lines = prompt.split("\n")
    if _TOKENS in prompt and len(lines) == 3:
        return lines[1 if prompt.startswith(_TOKENS.rstrip()) else 0].lower()
    return lines[0].lower() if len(lines) == 2 else None


class TextVQA(Benchmark):
    """Questions whose answer has to be read in the picture."""

    name = "textvqa"
    max_new_tokens = 128
    protocols = (*PROTOCOLS, NO_OCR)

    def __init__(self, data: Path, protocol: str = PROTOCOLS[0]) -> None:
        super().__init__(data, protocol)
        self.places = Places(data, ("textvqa", "TextVQA"))

    # -- questions --------------------------------------------------------------------------

    def samples(self, *, splits: Sequence[str] = (), limit: int | None = None) -> list[Sample]:
        """Return the questions, by default of `val`; see `Benchmark.samples`."""
        there = list(self._annotations())
        chosen = chosen_splits(self.name, splits, there) if splits else there[:1]
        if not chosen:
            self.places.require("TextVQA_0.5.1_val.json", what="TextVQA's questions and answers")
        return [sample for split in chosen for sample in limited(self._read(split), limit)]

    def prompt(self, sample: Sample) -> str:
        """Return the prompt of LLaVA's file, OCR tokens and suffix included.

        Raises:
            DataError: the protocol has OCR tokens, and no file that holds them was found.
        """
        if self.protocol == NO_OCR:
            return prompt_of(sample.question, None) + SHORT_ANSWER
        image = str(sample.meta["image_id"])
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

    def files(self) -> list[DataFile]:
        """Return annotations, LLaVA's questions and the pictures."""
        found = self._annotations()
        if not found:
            found = {"val": self.places.expected("TextVQA_0.5.1_val.json")}
        annotations = [
            DataFile(
                path,
                f"questions and answers, {split}",
                required=number == 0,
                count=lambda path=path: len(_entries(path)),  # type: ignore[misc]
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
        pictures = DataFile(self._pictures(next(iter(found))), "pictures", required=False)
        return [*annotations, questions, pictures]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the files used; see `Benchmark.protocol_facts`."""
        return super().protocol_facts() | {
            "suffix": SHORT_ANSWER,
            "ocr_tokens": self.protocol != NO_OCR,
            "padding": "mean colour, to a square",
            "files": {path.name: len(_entries(path)) for path in self._annotations().values()},
        }

    def _annotations(self) -> dict[str, Path]:
        """Return split -> file, `val` first."""
        if self.places.file is not None:
            split = next((name for name in _SPLITS if name in self.places.file.name), "val")
            return {split: self.places.file}
        found = {}
        for split in _SPLITS:
            path = self.places.find(f"TextVQA_0.5.1_{split}.json") or self._other(split)
            if path is not None:
                found[split] = path
        return found

    def _other(self, split: str) -> Path | None:
        """Return the annotations of another version, or under a longer name."""
        for folder in self.places.folders:
            paths = sorted(folder.glob(f"TextVQA_*{split}*.json"))
            paths = [path for path in paths if "OCR" not in path.name]
            if paths:
                return paths[0]
        return None

    @cached_property
    def _prompts(self) -> dict[tuple[str, str], str]:
        """(image id, question in lower case) -> prompt of LLaVA's file."""
        path = self.places.find(_QUESTIONS, above=True)
        prompts = {}
        for record in read_json_lines(path) if path else ():
            text = record.text("text")
            question = question_in(text)
            if question is None:
                raise DataError(
                    f"{record.file}, {record.where}: expected a question, its OCR tokens and the "
                    f"suffix on a line each, found {text[:80]!r}."
                )
            prompts[(record.id() or "", question)] = text
        return prompts

    @cached_property
    def _tokens(self) -> dict[str, list[str]]:
        """Image id -> tokens of the official Rosetta files, where LLaVA's prompts are missing."""
        tokens: dict[str, list[str]] = {}
        for split in self._annotations():
            path = self.places.find(
                f"TextVQA_Rosetta_OCR_v0.2_{split}.json", f"rosetta_ocr_tokens_{split}.jsonl"
            )
            if path is None:
                continue
            lines = path.suffix == ".jsonl"
            entries = [r.value for r in read_json_lines(path)] if lines else _entries(path)
            tokens |= {str(entry["image_id"]): list(entry["ocr_tokens"]) for entry in entries}
        return tokens

    def _pictures(self, split: str) -> Path:
        name = "test_images" if split == "test" else "train_images"
        return self.places.find(name, above=True) or self.places.expected(name)

    def _read(self, split: str) -> Iterator[Sample]:
        path, pictures = self._annotations()[split], self._pictures(split)
        by_image: dict[str, list[Sample]] = {}
        for number, entry in enumerate(_entries(path), 1):
            sample = _sample(entry, split, pictures, f"{path}, question {number}")
            by_image.setdefault(sample.cluster, []).append(sample)
        for samples in by_image.values():
            yield from samples

    # -- answers ----------------------------------------------------------------------------

    def is_correct(self, sample: Sample, answer: str) -> bool:
        """Say whether three or more people gave the answer; see `credit` for less than that."""
        return self.credit(sample, answer) >= 0.9

    def credit(self, sample: Sample, answer: str) -> float:
        """Return what the answer is worth: 0, 0.3, 0.6, 0.9 or 1."""
        given = sample.meta["answers"]
        return soft_accuracy(answer, given) if given else 0.0

    def join(self, path: Path, samples: Sequence[Sample]) -> Joined:
        """Join LLaVA's lines by (image, question), official ones by the question's number.

        LLaVA's `question_id` is the image's: it is no key where a picture has two questions.
        """
        joiner = Joiner(samples, path)
        numbers = {sample.meta["question_id"]: sample for sample in samples}
        images: dict[str, list[Sample]] = {}
        for sample in samples:
            images.setdefault(str(sample.meta["image_id"]), []).append(sample)
        for record in read_records(path):
            if "key" in record.value:
                joiner.add_own(record)
                continue
            text = record.text("text", "answer", "pred_answer", "prediction")
            number = record.id()
            sample_of_number = numbers.get(number) if number else None
            if sample_of_number is not None:
                asked = record.prompt
                if asked and not asks(asked, sample_of_number.question):
                    joiner.mismatched(record.where)
                else:
                    joiner.add(sample_of_number.key, text, record.where)
            else:
                self._join_by_image(joiner, record, text, images)
        return joiner.joined()

    @staticmethod
    def _join_by_image(
        joiner: Joiner, record: Record, text: str, images: Mapping[str, Sequence[Sample]]
    ) -> None:
        there = images.get(record.id("image_id", "question_id") or "", ())
        if not there:
            joiner.add(None, text, record.where)
            return
        if record.prompt is None:
            if len(there) > 1:
                raise DataError(
                    f"{record.file}, {record.where}: the picture has {len(there)} questions, and "
                    "without `prompt` it could only be guessed which one is answered.",
                    "Give a file whose lines hold the prompt, or the question's own number.",
                )
            joiner.add(there[0].key, text, record.where)
            return
        wanted = question_in(record.prompt)
        same = [sample for sample in there if sample.question.lower() == wanted]
        same = same or [sample for sample in there if asks(record.prompt, sample.question)]
        if same:
            joiner.add(max(same, key=lambda s: len(s.question)).key, text, record.where)
        else:
            joiner.mismatched(record.where)

    def write_submission(
        self, samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
    ) -> list[Path]:
        """Write LLaVA's lines and the official list of {question_id, answer}."""
        given = [sample for sample in samples if sample.key in answers]
        lines = (
            llava_line(s.meta["image_id"], self.prompt(s), answers[s.key], model_id) for s in given
        )
        official = [
            {"question_id": _number(sample.meta["question_id"]), "answer": answers[sample.key]}
            for sample in given
        ]
        return [
            write_lines(folder / file_name(model_id, ".jsonl"), lines),
            write_list(folder / file_name(model_id, ".json"), official),
        ]

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


def _entries(path: Path) -> list[dict[str, Any]]:
    value = read_json_file(path)
    entries = value.get("data") if isinstance(value, dict) else value
    if not isinstance(entries, list) or not entries:
        raise DataError(
            f"{path} holds no questions: expected an object with a list under `data`.",
            "Download TextVQA_0.5.1_val.json again.",
        )
    return entries


def _sample(entry: Mapping[str, Any], split: str, pictures: Path, where: str) -> Sample:
    try:
        image, question = str(entry["image_id"]), str(entry["question"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{where} lacks the field {error}.", "Download the file again.") from error
    number = str(entry.get("question_id", f"{image}/{question.lower()}"))
    given = [str(answer) for answer in entry.get("answers") or ()]
    if len(given) not in (0, _PEOPLE):
        raise DataError(
            f"{where} (question_id {number}) has {len(given)} answers: the metric is defined for "
            f"{_PEOPLE}.",
            "Download the file again.",
        )
    common = Counter(normalise(answer) for answer in given)
    return Sample(
        key=number,
        image=FilePicture(pictures / f"{image}.jpg"),
        question=question,
        split=split,
        kind="open",
        reference=max(given, key=lambda answer: common[normalise(answer)], default=""),
        cluster=image,
        meta={"image_id": image, "question_id": number, "answers": given},
    )


def _number(question_id: str) -> int | str:
    return int(question_id) if question_id.isdecimal() else question_id
