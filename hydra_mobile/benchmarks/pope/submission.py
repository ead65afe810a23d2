"""POPE's answers in the files of the field: LLaVA's lines, and those that evaluate.py reads.

The official tool pairs by position: a file that would make it pair wrongly is not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra_mobile.benchmarks.shared.submission_formats import file_name, llava_line, write_lines
from hydra_mobile.benchmarks.types import Sample


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


def _pope_line(sample: Sample, answer: str) -> dict[str, str]:
    return {
        "question": sample.question,
        "answer": answer,
        "image": sample.cluster,
        "category": sample.split,
    }
