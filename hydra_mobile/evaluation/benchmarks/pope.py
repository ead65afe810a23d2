"""The benchmark POPE: is an object there? On 500 COCO pictures, three choices of absent objects.

Reads the official annotations in both versions (before and since October 2023) and LLaVA's file
of questions. Answers are read by the official rule; the headline is the mean F1 of the splits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra_mobile.errors import DataError
from hydra_mobile.evaluation.benchmarks.answer_files import (
    Record,
    asks,
    bare,
    read_json_lines,
    read_records,
)
from hydra_mobile.evaluation.benchmarks.base import (
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
from hydra_mobile.evaluation.benchmarks.official_files import write_pope
from hydra_mobile.evaluation.benchmarks.pictures import FilePicture
from hydra_mobile.evaluation.benchmarks.pope_scores import (
    NAMES,
    accuracy,
    counts,
    f1,
    five,
    mean_over_splits,
    read_yesno,
)

SPLITS = ("random", "popular", "adversarial")
_QUESTIONS = "llava_pope_test.jsonl"
#: Lines of a split's annotations: the older `random` file lacks 90 of the later one's questions.
_OFFICIAL = {"random": (2910, 3000), "popular": (3000,), "adversarial": (3000,)}


class _Question(NamedTuple):
    split: str
    image: str
    text: str

    @property
    def key(self) -> str:
        return f"{self.split}/{self.image}/{_spelled(self.text.removesuffix(SHORT_ANSWER))}"


class Pope(Benchmark):
    """Existence questions of the splits random, popular and adversarial."""

    name = "pope"
    max_new_tokens = 128

    def __init__(self, data: Path, protocol: str = "llava-1.5") -> None:
        super().__init__(data, protocol)
        self.places = Places(data, ("pope", "POPE"))

    # -- questions --------------------------------------------------------------------------

    def samples(self, *, splits: Sequence[str] = (), limit: int | None = None) -> list[Sample]:
        """Return the questions of the annotations; see `Benchmark.samples`."""
        chosen = chosen_splits(self.name, splits, self._splits())
        asked = {question.key: question.text for question in self._questions().values()}
        return [sample for split in chosen for sample in limited(self._read(split, asked), limit)]

    def prompt(self, sample: Sample) -> str:
        """Return the question as LLaVA's file has it, suffix included."""
        return str(sample.meta["prompt"])

    def files(self) -> list[DataFile]:
        """Return annotations, questions and pictures."""
        annotations = [
            DataFile(
                self._annotations(split),
                f"questions and labels, {split}",
                required=True,
                count=lambda split=split: len(self._lines(split)),  # type: ignore[misc]
                official=_OFFICIAL[split],
            )
            for split in self._splits()
        ]
        questions = DataFile(
            self._question_file() or self.places.expected(_QUESTIONS),
            "LLaVA's questions, by whose ids its answers are joined",
            required=False,
            count=lambda: len(self._questions()),
            official=(8910,),
        )
        return [*annotations, questions, DataFile(self._pictures(), "pictures", required=False)]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the files used; see `Benchmark.protocol_facts`."""
        return super().protocol_facts() | {
            "suffix": SHORT_ANSWER,
            "padding": "mean colour, to a square",
            "files": {path.name: len(self._lines(split)) for split, path in self._sources()},
        }

    def _splits(self) -> tuple[str, ...]:
        if self.places.file is None:
            return SPLITS
        found = re.search("|".join(SPLITS), self.places.file.name)
        if found is None:
            raise DataError(
                f"{self.places.file} is no file of POPE's annotations: expected a name with "
                f"{', '.join(SPLITS)}.",
                "Give coco_pope_random.json or its siblings, or the folder `pope`.",
            )
        return (found.group(),)

    def _sources(self) -> list[tuple[str, Path]]:
        return [(split, self._annotations(split)) for split in self._splits()]

    def _annotations(self, split: str) -> Path:
        name = f"coco_pope_{split}.json"
        return (
            self.places.file
            or self.places.find(*_homes(name))
            or self.places.expected(f"coco/{name}")
        )

    def _lines(self, split: str) -> list[Record]:
        name = f"coco_pope_{split}.json"
        path = self.places.file or self.places.require(
            *_homes(name), what="POPE's questions with their labels"
        )
        return list(read_json_lines(path))

    def _question_file(self) -> Path | None:
        return self.places.find(_QUESTIONS, above=True)

    def _questions(self) -> dict[str, _Question]:
        """Return LLaVA's questions by id; none where the file is missing."""
        path = self._question_file()
        if path is None:
            return {}
        return {
            str(_field(record, "question_id")): _Question(
                str(_field(record, "category")),
                str(_field(record, "image")),
                str(_field(record, "text")),
            )
            for record in read_json_lines(path)
        }

    def _pictures(self) -> Path:
        return self.places.find("val2014", above=True) or self.places.expected("val2014")

    def _read(self, split: str, asked: Mapping[str, str]) -> list[Sample]:
        pictures = self._pictures()
        samples = []
        for record in self._lines(split):
            image, text = str(_field(record, "image")), str(_field(record, "text"))
            label = _field(record, "label")
            if label not in ("yes", "no"):
                raise DataError(
                    f"{record.file}, {record.where}: `label` is {label!r}, expected yes or no."
                )
            key = _Question(split, image, text).key
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
                        "prompt": asked.get(key, text + SHORT_ANSWER),
                        "annotation_id": str(record.value.get("question_id")),
                    },
                )
            )
        return samples

    # -- answers ----------------------------------------------------------------------------

    def is_correct(self, sample: Sample, answer: str) -> bool:
        """Say whether the answer, read by the official rule, is the label."""
        return read_yesno(answer) == sample.reference

    def join(self, path: Path, samples: Sequence[Sample]) -> Joined:
        """Join LLaVA's answers by (split, image, question); see `Benchmark.join`.

        LLaVA's answers name questions by the ids of its own file of questions, which are not the
        annotations'. Lines with `image` and `category` need no such file.
        """
        joiner, questions = Joiner(samples, path), self._questions()
        known = {sample.split for sample in samples}
        alone = next(iter(known)) if len(known) == 1 else None
        confirmed = bool(questions)
        if not questions and alone:
            # One split has unique ids; every prompt must confirm them.
            questions = {
                sample.meta["annotation_id"]: _Question(alone, sample.cluster, sample.question)
                for sample in samples
            }
        by_words = {
            (sample.split, sample.cluster, bare(_spelled(sample.question))): sample.key
            for sample in samples
        }
        for record in read_records(path):
            if "key" in record.value:
                joiner.add_own(record)
                continue
            text = record.text("text", "answer", "response")
            image, prompt, split = record.id("image"), record.prompt, _split_of(record, alone)
            if image and prompt and split:
                key = by_words.get((split, image, bare(_spelled(prompt))))
                if split not in known and split in SPLITS:
                    joiner.set_aside()
                else:
                    joiner.add(key, text, record.where)
                continue
            question = self._question_of(record, questions)
            if question is None:
                joiner.add(None, text, record.where)
            elif question.split not in known and question.split in SPLITS:
                joiner.set_aside()
            elif image not in (None, question.image) or not (
                asks(_spelled(prompt), _spelled(question.text)) if prompt else confirmed
            ):
                joiner.mismatched(record.where)
            else:
                joiner.add(question.key, text, record.where)
        return joiner.joined()

    def _question_of(self, record: Record, questions: Mapping[str, _Question]) -> _Question | None:
        number = record.id()
        if number is None:
            raise DataError(
                f"{record.file}, {record.where} has neither `question_id` nor `image` and "
                "`category`: which picture it is about could only be guessed from its position.",
                "Write one of them to every answer.",
            )
        if not questions:
            raise DataError(
                f"{_QUESTIONS} is missing in {self.data}: without it the ids in {record.file} "
                "name no picture.",
                f"Put LLaVA's {_QUESTIONS} beside the folder of annotations.",
            )
        return questions.get(number)

    def write_submission(
        self, samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
    ) -> list[Path]:
        """Write LLaVA's lines and, for complete splits, what POPE's evaluate.py reads."""
        ids = {question.key: number for number, question in self._questions().items()}
        order = {
            split: [sample.key for sample in self._read(split, {})]
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


def _homes(name: str) -> tuple[str, ...]:
    return (f"coco/{name}", name, f"output/coco/{name}")


def _split_of(record: Record, alone: str | None) -> str | None:
    """Return the split that an answer says it belongs to, by itself or by its file's name."""
    named = set(re.findall("|".join(SPLITS), record.file.name))
    of_file = named.pop() if len(named) == 1 else None
    return record.id("category", "split") or alone or of_file


def _spelled(text: str) -> str:
    """Return a question with the older annotations' spelling mended."""
    return text.replace("imange", "image")


def _field(record: Record, name: str) -> Any:
    try:
        return record.value[name]
    except KeyError:
        raise DataError(
            f"{record.file}, {record.where} has no `{name}`: found {', '.join(record.value)}.",
            "Download the file again.",
        ) from None
