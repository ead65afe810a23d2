"""Answers in the files that the official tools of POPE, MME and GQA read, and LLaVA's lines.

The tools of POPE and MME pair by position: a file that would make them pair wrongly is not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra_mobile.benchmarks.shared.submissions import (
    file_name,
    llava_line,
    one_line,
    write_lines,
    write_list,
    write_text,
)
from hydra_mobile.benchmarks.types import SHORT_ANSWER, Sample

_PLEASE = " Please answer yes or no."


def write_pope(
    samples: Sequence[Sample],
    answers: Mapping[str, str],
    folder: Path,
    model_id: str,
    *,
    ids: Mapping[str, str],
    order: Mapping[str, Sequence[str]],
) -> list[Path]:
    """Write LLaVA's lines, and one file of {question, answer} lines per complete split.

    Args:
        samples: the questions asked.
        answers: sample key -> text.
        folder: for the files.
        model_id: name of the model.
        ids: sample key -> id in LLaVA's file of questions; lines of others name their picture.
        order: split -> keys of all its annotations, as POPE's evaluate.py pairs them.
    """
    given = [sample for sample in samples if sample.key in answers]
    lines = []
    for sample in given:
        number = ids.get(sample.key)
        # The annotations' own ids are the same in every split.
        named = {} if number else {"image": sample.cluster, "category": sample.split}
        number = number or str(sample.meta["annotation_id"])
        identity = int(number) if number.isdecimal() else number
        lines.append(
            llava_line(identity, str(sample.meta["prompt"]), answers[sample.key], model_id, named)
        )
    files = [write_lines(folder / file_name(model_id, ".jsonl"), lines)]
    by_key = {sample.key: sample for sample in given}
    for split, keys in order.items():
        if all(key in by_key for key in keys):
            # The tool reads two of the fields; the others let the file be joined by key.
            official = [_pope_line(by_key[key], answers[key]) for key in keys]
            files.append(write_lines(folder / file_name(model_id, f"_{split}.json"), official))
    return files


def write_mme(
    samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
) -> list[Path]:
    """Write LLaVA's lines and a folder of one text file per subtask.

    The tool takes two adjacent lines for a picture: pictures of which an answer is missing, and
    those whose right answers are unknown, are left out of the text files.
    """
    given = [sample for sample in samples if sample.key in answers]
    lines = (llava_line(_inside(s), str(s.meta["prompt"]), answers[s.key], model_id) for s in given)
    files = [write_lines(folder / file_name(model_id, ".jsonl"), lines)]
    pairs: dict[str, list[Sample]] = {}
    for sample in given:
        pairs.setdefault(sample.cluster, []).append(sample)
    texts: dict[str, list[str]] = {}
    for pair in pairs.values():
        if len(pair) == 2 and all(sample.reference for sample in pair):
            texts.setdefault(pair[0].kind, []).extend(_mme_line(s, answers[s.key]) for s in pair)
    results = folder / file_name(model_id, "")
    for subtask, some in texts.items():
        files.append(write_text(results / f"{subtask}.txt", "".join(some)))
    return files


def write_gqa(
    samples: Sequence[Sample],
    answers: Mapping[str, str],
    folder: Path,
    model_id: str,
    predictions: Mapping[str, str],
) -> list[Path]:
    """Write LLaVA's lines and the official tool's list of {questionId, prediction}.

    Args:
        samples: the questions asked.
        answers: sample key -> text.
        folder: for the files.
        model_id: name of the model.
        predictions: sample key -> the answer as LLaVA's conversion writes it.
    """
    given = [sample for sample in samples if sample.key in answers]
    lines = (llava_line(s.key, str(s.meta["prompt"]), answers[s.key], model_id) for s in given)
    official = [{"questionId": s.key, "prediction": predictions[s.key]} for s in given]
    return [
        write_lines(folder / file_name(model_id, ".jsonl"), lines),
        write_list(folder / "testdev_balanced_predictions.json", official),
    ]


def _pope_line(sample: Sample, answer: str) -> dict[str, str]:
    return {
        "question": sample.question,
        "answer": answer,
        "image": sample.cluster,
        "category": sample.split,
    }


def _inside(sample: Sample) -> str:
    """Return the picture's path inside the release, which is LLaVA's id of a question."""
    parts = Path(str(sample.image.key if sample.image else sample.cluster)).parts
    at = max(number for number, part in enumerate(parts) if part == sample.kind)
    return "/".join(parts[at:])


def _mme_line(sample: Sample, answer: str) -> str:
    question = sample.question.removesuffix(SHORT_ANSWER)
    asked = question if _PLEASE.strip() in question else question + _PLEASE
    picture = _inside(sample).rsplit("/", 1)[-1]
    fields = (picture, one_line(asked), sample.reference.capitalize(), one_line(answer))
    return "\t".join(fields) + "\n"
