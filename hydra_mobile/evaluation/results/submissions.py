"""Answers in the formats of the field: what each benchmark's own tool reads, and LLaVA's jsonl."""

from __future__ import annotations

from pathlib import Path

from hydra_mobile.evaluation.store.work_dir import TaskDir

SUBMISSION = "submission"


def write_submissions(task: TaskDir) -> list[Path]:
    """Write a task's answers beside its log and return the files; only answered questions count."""
    spec = task.spec
    texts = {line.key: line.text for line in task.log.read()}
    samples = [sample for sample in spec.samples if sample.key in texts]
    folder = task.folder / SUBMISSION
    folder.mkdir(exist_ok=True)
    return spec.benchmark.write_submission(samples, texts, folder, model_id(task))


def model_id(task: TaskDir) -> str:
    """Return the name of the model in answer files."""
    return f"{task.artifact.path.absolute().name}-{task.artifact.digest[:8]}"
