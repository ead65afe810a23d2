"""TextVQA's answers files: LLaVA's lines, and the official list of {question_id, answer}.

LLaVA's `question_id` is the image's, up to two questions to one: it is no key, and the question is
taken from the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra_mobile.benchmarks.base import AnswerMatcher, Joined, Sample
from hydra_mobile.benchmarks.shared.answer_files import Record, asks, read_records
from hydra_mobile.benchmarks.textvqa.files import has_tokens, question_in
from hydra_mobile.core.errors import DataError


def join_answers(path: Path, samples: Sequence[Sample], protocol: str, tokens: bool) -> Joined:
    """Join an answers file to the samples by (image, question), or by the question's number.

    Args:
        path: the file.
        samples: the questions.
        protocol: how the questions are said to have been asked; differences become a note.
        tokens: whether that protocol has OCR tokens in the prompts.

    Raises:
        DataError: the file cannot be read, or says of an answer neither its question nor its
            number where the picture has two questions.
    """
    joiner = AnswerMatcher(samples, path)
    numbers = {sample.meta["number"]: sample for sample in samples}
    images: dict[str, list[Sample]] = {}
    for sample in samples:
        images.setdefault(sample.cluster, []).append(sample)
    otherwise = 0
    for record in read_records(path):
        otherwise += record.prompt is not None and has_tokens(record.prompt) != tokens
        if "key" in record.value:
            joiner.add_own(record)
            continue
        text = record.text("text", "answer", "pred_answer", "prediction")
        numbered = numbers.get(record.id() or "")
        if numbered is None:
            _join_by_image(joiner, record, text, images)
        elif record.prompt and not asks(record.prompt, numbered.question):
            joiner.mismatched(record.where)
        else:
            joiner.add(numbered.key, text, record.where)
    if otherwise:
        # The same model scores ten points more or less.
        joiner.note(
            f"{otherwise} prompts in {path.name} {'lack' if tokens else 'have'} OCR tokens, "
            f"against the protocol {protocol}"
        )
    return joiner.joined()


def _join_by_image(
    joiner: AnswerMatcher, record: Record, text: str, images: Mapping[str, Sequence[Sample]]
) -> None:
    there = images.get(record.id("image_id", "question_id") or "", ())
    if not there:
        joiner.add(None, text, record.where)
        return
    if record.prompt is None:
        if len(there) > 1:
            raise DataError(
                f"{record.file}, {record.where}: the image has {len(there)} questions, and "
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
