"""MME's answers meet its questions: LLaVA's lines, and the official tool's folder of results.

The official tool takes two adjacent lines for a picture, so that a lost line shifts all that
follow. Here every line finds its question by (subtask, picture, question).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from hydra_mobile.benchmarks.base import AnswerMatcher, Sample
from hydra_mobile.benchmarks.mme.files import (
    QUESTIONS,
    Place,
    place_of,
    read_results,
    split_of,
)
from hydra_mobile.benchmarks.shared.answer_files import read_records
from hydra_mobile.core.errors import DataError


def join_lines(path: Path, joiner: AnswerMatcher, samples: Sequence[Sample]) -> None:
    """Give LLaVA's answers, or our own, to the joiner.

    Raises:
        DataError: a line lacks its prompt: every id occurs twice.
    """
    pictures = {sample.cluster for sample in samples}
    splits = {sample.split for sample in samples}
    for record in read_records(path):
        if "key" in record.value:
            joiner.add_own(record)
            continue
        image, prompt = record.id("question_id", "image"), record.prompt
        if image is None or prompt is None:
            raise DataError(
                f"{path}, {record.where} has no `question_id` or no `prompt`: every image "
                "of MME has two questions with one id.",
                "Write the prompt to every answer, as LLaVA's scripts do.",
            )
        text = record.text("text", "answer", "response")
        place = place_of(image, prompt)
        if _elsewhere(place, splits):
            joiner.set_aside()
        elif place.key not in joiner and place.picture in pictures:
            joiner.mismatched(record.where)
        else:
            joiner.add(place.key, text, record.where)


def join_results(path: Path, joiner: AnswerMatcher, samples: Sequence[Sample]) -> None:
    """Give the official tool's results to the joiner.

    Raises:
        DataError: a line has not four fields.
    """
    truth = {sample.key: sample.reference for sample in samples}
    splits = {sample.split for sample in samples}
    for result in read_results(path):
        if result.response is None:
            raise DataError(
                f"{result.file}, line {result.line} has 3 fields between tabs: a response "
                "is missing.",
                "This is the official tool's template, or a response was lost.",
            )
        key = result.place.key
        if _elsewhere(result.place, splits):
            joiner.set_aside()
        elif truth.get(key) not in (None, "", result.truth):
            joiner.mismatched(result.where)
        else:
            joiner.add(key, result.response, result.where)


def hold_to_release(
    joiner: AnswerMatcher, samples: Sequence[Sample], unasked: Collection[str]
) -> None:
    """Count what the release has and the results lack, or the other way round.

    For results that are the only source of questions: an even number of lost lines gives the
    official tool a plausible score.

    Args:
        joiner: takes the counts.
        samples: the questions of the results.
        unasked: splits that are there and were not chosen.
    """
    found = Counter(sample.kind for sample in samples)
    for subtask, whole in QUESTIONS.items():
        if split_of(subtask) in unasked:
            continue
        for number in range(found[subtask], whole):
            joiner.miss(f"{subtask}: {number + 1} of {whole}")
        for number in range(whole, found[subtask]):
            joiner.add(None, "", f"{subtask}: {number + 1} of {whole}")
    for picture, count in Counter(sample.cluster for sample in samples).items():
        subtask = picture.split("/")[0]
        # With questions missing it is told already; otherwise a picture's name is wrong.
        if count != 2 and found[subtask] == QUESTIONS[subtask]:
            joiner.mismatched(f"{picture}: {count} questions, expected 2")


def _elsewhere(place: Place, splits: set[str]) -> bool:
    """Say whether a question belongs to a split that is not scored."""
    return place.subtask in QUESTIONS and split_of(place.subtask) not in splits
