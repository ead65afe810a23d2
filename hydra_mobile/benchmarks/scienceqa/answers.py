"""ScienceQA's answers files: LLaVA's lines, and the two files that its scorer writes.

`*_output.jsonl` is one JSON object {correct: [], incorrect: []}, not lines. The results file holds
`results`, indices that older scripts guessed where a text could not be read, and `outputs`, the
texts: only those are taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.base import CHOICE, AnswerMatcher, Joined, Sample
from hydra_mobile.benchmarks.scienceqa.problems import LETTERS
from hydra_mobile.benchmarks.shared.answer_files import Record, asks, read_records, read_text
from hydra_mobile.benchmarks.shared.choice_letters import FAILED, read_scienceqa
from hydra_mobile.benchmarks.shared.submission_formats import (
    file_name,
    llava_line,
    write_lines,
    write_list,
)
from hydra_mobile.core.errors import DataError

#: What LLaVA's scorer writes as the question where a prediction is missing.
_NO_PREDICTION = "Unknown"


def join_answers(path: Path, samples: Sequence[Sample]) -> Joined:
    """Join an answers file to the samples by the problem's id.

    Raises:
        DataError: the file is in none of the formats.
    """
    joiner = AnswerMatcher(samples, path)
    by_id = {sample.key: sample for sample in samples}
    for record in _records(path, joiner):
        if "key" in record.value:
            joiner.add_own(record)
            continue
        text = record.text("pred", "text", "answer", "prediction")
        if record.prompt == _NO_PREDICTION and text == FAILED:
            continue
        sample = by_id.get(record.id("question_id", "id") or "")
        if sample is not None and _of_another(record, sample):
            joiner.mismatched(record.where)
        else:
            joiner.add(sample.key if sample else None, text, record.where)
    return joiner.joined()


def write_answers(
    samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
) -> list[Path]:
    """Write LLaVA's lines, `*_output.jsonl` and `*_result.json`, and return the files."""
    given = [(sample, answers[sample.key]) for sample in samples if sample.key in answers]
    lines = [llava_line(s.key, _prompt(s), text, model_id) for s, text in given]
    analyzed: dict[str, list[dict[str, Any]]] = {"correct": [], "incorrect": []}
    for sample, text in given:
        letter = read_scienceqa(text)
        right = letter == sample.reference
        analyzed["correct" if right else "incorrect"].append(
            {
                "question_id": sample.key,
                "parsed_ans": letter,
                "ground_truth": sample.reference,
                "question": _prompt(sample),
                "pred": text,
                "is_multimodal": sample.image is not None,
            }
        )
    right_count = len(analyzed["correct"])
    results = {
        "acc": 100 * right_count / len(given) if given else 0.0,
        "correct": right_count,
        "count": len(given),
        "results": {sample.key: _index(sample, text) for sample, text in given},
        "outputs": {sample.key: text for sample, text in given},
    }
    return [
        write_lines(folder / file_name(model_id, ".jsonl"), lines),
        write_list(folder / file_name(model_id, "_output.jsonl"), analyzed),
        write_list(folder / file_name(model_id, "_result.json"), results),
    ]


def _prompt(sample: Sample) -> str:
    return ("<image>\n" if sample.image is not None else "") + sample.question + CHOICE


def _index(sample: Sample, text: str) -> int:
    letter = read_scienceqa(text)
    return LETTERS.index(letter) if letter in LETTERS[: sample.meta["choices"]] else -1


def _of_another(record: Record, sample: Sample) -> bool:
    truth = record.value.get("ground_truth")
    if isinstance(truth, str) and truth != sample.reference:
        return True
    asked = sample.meta["question"].strip()
    if not asked or record.prompt in (None, _NO_PREDICTION):
        return False
    return not asks(record.prompt or "", asked)


def _records(path: Path, joiner: AnswerMatcher) -> Iterator[Record]:
    whole = _whole_object(path)
    if whole is None:
        yield from read_records(path)
    elif "correct" in whole and isinstance(whole["correct"], list):
        for kind in ("correct", "incorrect"):
            for number, value in enumerate(whole.get(kind) or (), 1):
                if not isinstance(value, dict) or "question_id" not in value:
                    raise DataError(
                        f"{path}, {kind} {number} has no `question_id`: which problem it answers "
                        "could only be guessed.",
                        "Give LLaVA's answers file instead.",
                    )
                yield Record(path, f"{kind} {number} (question_id {value['question_id']})", value)
    elif isinstance(whole.get("outputs"), dict):
        joiner.note("scored from `outputs`; the indices in `results` may hold guesses")
        # LLaVA's scorer writes this word where a prediction is missing, and there alone.
        given = {key: text for key, text in whole["outputs"].items() if text != FAILED}
        yield from _texts(path, given)
    elif whole and all(isinstance(text, str) for text in whole.values()):
        yield from _texts(path, whole)
    else:
        raise DataError(
            f"{path} holds no answers' texts: found the keys {', '.join(list(whole)[:6])}; "
            "expected `outputs`, or `correct` and `incorrect`.",
            "Give LLaVA's answers file: indices in `results` may be guesses and are not scored.",
        )


def _texts(path: Path, texts: Mapping[str, Any]) -> Iterator[Record]:
    for key, text in texts.items():
        yield Record(path, f"question_id {key}", {"question_id": key, "text": text})


def _whole_object(path: Path) -> dict[str, Any] | None:
    """Return the file as one JSON object; None for lines and lists."""
    text = read_text(path).strip()
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not {"question_id", "key"} & set(value) else None
