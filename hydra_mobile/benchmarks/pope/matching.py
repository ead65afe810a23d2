"""POPE's answers meet its questions, by (split, picture, question).

The ids of LLaVA's answers are those of its own file of questions. Pairing by position, as the
official script does, gives half the score with the other version of the annotations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra_mobile.benchmarks.base import AnswerMatcher, Joined, Sample
from hydra_mobile.benchmarks.pope.files import QUESTIONS, SPLITS, Question, spelled
from hydra_mobile.benchmarks.shared.answer_files import Record, asks, bare, read_records
from hydra_mobile.core.errors import DataError


def join_pope(path: Path, samples: Sequence[Sample], questions: Mapping[str, Question]) -> Joined:
    """Join an answers file.

    Args:
        path: LLaVA's lines, our own, lines with `image` and a split, or what POPE's evaluate.py
            reads, {question, answer} in the order of a split's annotations; or a folder with a
            file for each split.
        samples: the questions.
        questions: those of LLaVA's file by id; none where it is missing.

    Raises:
        DataError: a line names no picture and the file's questions are not the annotations', or
            nothing says what its id means.
    """
    joiner = AnswerMatcher(samples, path)
    known = {sample.split for sample in samples}
    alone = next(iter(known)) if len(known) == 1 else None
    ids = _Ids(samples, questions)
    by_words = {
        (sample.split, sample.cluster, bare(spelled(sample.question))): sample.key
        for sample in samples
    }
    official: dict[str, list[Record]] = {}
    records = list(_records(path))
    ids.learn(records)
    for record in records:
        if "key" in record.value:
            joiner.add_own(record)
            continue
        if _names_nothing(record) and (of := _split_of(record, alone)):
            official.setdefault(of, []).append(record)
            continue
        text = record.text("text", "answer", "response")
        image, prompt, split = record.id("image"), record.prompt, _split_of(record, alone)
        if image and prompt and split:
            key = by_words.get((split, image, bare(spelled(prompt))))
            if split not in known and split in SPLITS:
                joiner.set_aside()
            else:
                joiner.add(key, text, record.where)
            continue
        question, sure = ids.question_of(record, alone)
        if question is None:
            joiner.add(None, text, record.where)
        elif question.split not in known and question.split in SPLITS:
            joiner.set_aside()
        elif image not in (None, question.image) or not (
            asks(spelled(prompt), spelled(question.text)) if prompt else sure
        ):
            joiner.mismatched(record.where)
        else:
            joiner.add(question.key, text, record.where)
    for split, records in official.items():
        _join_official(joiner, split, records, [s for s in samples if s.split == split])
    return joiner.joined()


def _records(path: Path) -> Iterator[Record]:
    """Yield the records of a file, or of the folder's files that are named by a split."""
    if not path.is_dir():
        yield from read_records(path)
        return
    files: dict[str, Path] = {}
    for file in sorted((*path.glob("*.json"), *path.glob("*.jsonl"))):
        split = _split_in(file.name)
        if split is None:
            continue
        if split in files:
            raise DataError(
                f"{path} has two files of answers of the split {split}: {files[split].name} and "
                f"{file.name}.",
                "Leave one of them there, or give one file.",
            )
        files[split] = file
    if not files:
        raise DataError(
            f"{path} is a folder without answers of POPE: expected files with a split's name, "
            f"{', '.join(SPLITS)}, in theirs (.json or .jsonl).",
            "Give the answers file itself.",
        )
    for file in files.values():
        yield from read_records(file)


def _names_nothing(record: Record) -> bool:
    return record.id() is None and record.id("image") is None and record.prompt is not None


def _join_official(
    joiner: AnswerMatcher, split: str, records: Sequence[Record], samples: Sequence[Sample]
) -> None:
    """Join lines that name their question by its words alone: all must be there and in order.

    The same words are asked of many pictures. Only where every question is that of the annotations
    does the order say which; one lost line, and the official script pairs all others wrongly.
    """
    if not samples and split in SPLITS:
        for _ in records:
            joiner.set_aside()
        return
    odd = next(
        (
            number
            for number, (record, sample) in enumerate(zip(records, samples, strict=False))
            if not asks(spelled(record.prompt or ""), spelled(sample.question))
        ),
        min(len(records), len(samples)),
    )
    if odd < len(records) or odd < len(samples):
        found = f"{records[odd].prompt!r}" if odd < len(records) else "the end of the file"
        wanted = f"{samples[odd].question!r}" if odd < len(samples) else "the end"
        raise DataError(
            f"{joiner.source}: {len(records)} answers and {len(samples)} questions of {split} do "
            f"not match: answer {odd + 1} is to {found}, the annotations have {wanted} there. "
            "The answers name no image, so they can be joined only where all questions are "
            "there and in the annotations' order.",
            "Score them with the annotations that they were made with, or write `image` to each.",
        )
    joiner.note(
        f"answers of {split} name no image: joined in the annotations' order, every question "
        "compared"
    )
    for record, sample in zip(records, samples, strict=True):
        joiner.add(sample.key, record.text("answer", "text", "response"), record.where)


class _Ids:
    """What ids mean: those of LLaVA's file, or, within one split, the annotations' own.

    Args:
        samples: the questions.
        questions: LLaVA's by id.
    """

    def __init__(self, samples: Sequence[Sample], questions: Mapping[str, Question]) -> None:
        self._llava = questions
        self._own = {
            (sample.split, sample.meta["annotation_id"]): Question(
                sample.split, sample.cluster, sample.question
            )
            for sample in samples
        }
        self._splits_in: dict[Path, set[str]] = {}

    def learn(self, records: Sequence[Record]) -> None:
        """Note which splits the ids of each file would belong to if they were LLaVA's."""
        for record in records:
            question = self._llava.get(record.id() or "")
            self._splits_in.setdefault(record.file, set()).add(question.split if question else "")

    def question_of(self, record: Record, alone: str | None) -> tuple[Question | None, bool]:
        """Return the question of an answer's id, and whether that is sure without its prompt.

        Args:
            record: the answer.
            alone: the split, if only one is scored.

        Raises:
            DataError: the answer has no id, or nothing says what it means.
        """
        number = record.id()
        if number is None:
            raise DataError(
                f"{record.file}, {record.where} has neither `question_id` nor `image` and "
                "`category`: which image it is about could only be guessed from its position.",
                "Write one of them to every answer.",
            )
        split, question = _split_of(record, alone), self._llava.get(number)
        if split and (question is None or question.split != split):
            # LLaVA counts the adversarial questions from 1 on, as every file of annotations does.
            llavas = self._splits_in[record.file] - {"", "adversarial"}
            own = self._own.get((split, number))
            if record.id("category", "split") or not self._llava or not llavas:
                return own or question, False
        if not self._llava:
            raise DataError(
                f"{QUESTIONS} is missing: without it the ids in {record.file} name no image.",
                f"Put LLaVA's {QUESTIONS} beside the folder of annotations.",
            )
        return question, True


def _split_of(record: Record, alone: str | None) -> str | None:
    """Return the split that an answer says it belongs to, by itself or by its file's name."""
    return record.id("category", "split") or _split_in(record.file.name) or alone


def _split_in(name: str) -> str | None:
    named = set(re.findall("|".join(SPLITS), name))
    return named.pop() if len(named) == 1 else None
