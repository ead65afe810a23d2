"""Answers in the formats of the field: what each benchmark's own tool reads, and LLaVA's jsonl."""

from __future__ import annotations

from pathlib import Path

from hydra_mobile.evaluation.store.work_dir import TaskDir

SUBMISSION = "submission"


def write_submissions(job: TaskDir) -> list[Path]:
    """Write a job's answers beside its log and return the files; only answered questions count."""
    asked = job.asked
    texts = {line["key"]: line["text"] for line in job.log.read()}
    samples = [sample for sample in asked.samples if sample.key in texts]
    folder = job.folder / SUBMISSION
    folder.mkdir(exist_ok=True)
    return asked.benchmark.write_submission(samples, texts, folder, model_id(job))


def model_id(job: TaskDir) -> str:
    """Return the name of the model in answer files."""
    return f"{job.artifact.path.absolute().name}-{job.artifact.digest[:8]}"
