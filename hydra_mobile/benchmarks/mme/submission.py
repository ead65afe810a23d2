"""MME's answers as the official tool reads them: one text file for each subtask.

It takes two adjacent lines for a picture: a file that would make it pair wrongly is not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra_mobile.benchmarks.mme.files import YES_OR_NO
from hydra_mobile.benchmarks.shared.submission_formats import file_name, one_line, write_text
from hydra_mobile.benchmarks.types import SHORT_ANSWER, Sample


def write_results(
    samples: Sequence[Sample], answers: Mapping[str, str], folder: Path, model_id: str
) -> list[Path]:
    """Write a folder of one text file per subtask and return the files.

    Pictures of which an answer is missing, and those whose right answers are unknown, are left
    out.

    Args:
        samples: the questions asked.
        answers: sample key -> text.
        folder: for the folder, which is named by the model.
        model_id: name of the model.
    """
    pairs: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.key in answers:
            pairs.setdefault(sample.cluster, []).append(sample)
    texts: dict[str, list[str]] = {}
    for pair in pairs.values():
        if len(pair) == 2 and all(sample.reference for sample in pair):
            texts.setdefault(pair[0].kind, []).extend(_line(s, answers[s.key]) for s in pair)
    results = folder / file_name(model_id, "")
    return [write_text(results / f"{name}.txt", "".join(some)) for name, some in texts.items()]


def path_in_release(sample: Sample) -> str:
    """Return the picture's path inside the release, which is LLaVA's id of a question."""
    parts = Path(str(sample.image.key if sample.image else sample.cluster)).parts
    at = max(number for number, part in enumerate(parts) if part == sample.kind)
    return "/".join(parts[at:])


def _line(sample: Sample, answer: str) -> str:
    question = sample.question.removesuffix(SHORT_ANSWER)
    asked = question if YES_OR_NO in question else f"{question} {YES_OR_NO}"
    picture = path_in_release(sample).rsplit("/", 1)[-1]
    fields = (picture, one_line(asked), sample.reference.capitalize(), one_line(answer))
    return "\t".join(fields) + "\n"
