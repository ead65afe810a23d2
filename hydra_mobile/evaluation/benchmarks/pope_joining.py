"""POPE's answers meet its questions, by (split, picture, question).

The ids of LLaVA's answers are those of its own file of questions. Pairing by position, as the
official script does, gives half the score with the other version of the annotations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra_mobile.errors import DataError
from hydra_mobile.evaluation.benchmarks.answer_files import Record, asks, bare, read_records
from hydra_mobile.evaluation.benchmarks.base import Joined, Joiner, Sample
from hydra_mobile.evaluation.benchmarks.pope_files import QUESTIONS, SPLITS, Question, spelled


def join_pope(path: Path, samples: Sequence[Sample], questions: Mapping[str, Question]) -> Joined:
    """Join an answers file.

    Args:
        path: LLaVA's lines, our own, or lines with `image` and a split.
        samples: the questions.
        questions: those of LLaVA's file by id; none where it is missing.

    Raises:
        DataError: a line names no picture, or nothing says what its id means.
    """
    joiner = Joiner(samples, path)
    known = {sample.split for sample in samples}
    alone = next(iter(known)) if len(known) == 1 else None
    confirmed = bool(questions)
    if not questions and alone:
        # One split has unique ids; every prompt must confirm them.
        questions = {
            sample.meta["annotation_id"]: Question(alone, sample.cluster, sample.question)
            for sample in samples
        }
    by_words = {
        (sample.split, sample.cluster, bare(spelled(sample.question))): sample.key
        for sample in samples
    }
    for record in read_records(path):
        if "key" in record.value:
            joiner.add_own(record)
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
        question = _question_of(record, questions)
        if question is None:
            joiner.add(None, text, record.where)
        elif question.split not in known and question.split in SPLITS:
            joiner.set_aside()
        elif image not in (None, question.image) or not (
            asks(spelled(prompt), spelled(question.text)) if prompt else confirmed
        ):
            joiner.mismatched(record.where)
        else:
            joiner.add(question.key, text, record.where)
    return joiner.joined()


def _question_of(record: Record, questions: Mapping[str, Question]) -> Question | None:
    number = record.id()
    if number is None:
        raise DataError(
            f"{record.file}, {record.where} has neither `question_id` nor `image` and "
            "`category`: which picture it is about could only be guessed from its position.",
            "Write one of them to every answer.",
        )
    if not questions:
        raise DataError(
            f"{QUESTIONS} is missing: without it the ids in {record.file} name no picture.",
            f"Put LLaVA's {QUESTIONS} beside the folder of annotations.",
        )
    return questions.get(number)


def _split_of(record: Record, alone: str | None) -> str | None:
    """Return the split that an answer says it belongs to, by itself or by its file's name."""
    named = set(re.findall("|".join(SPLITS), record.file.name))
    of_file = named.pop() if len(named) == 1 else None
    return record.id("category", "split") or of_file or alone
