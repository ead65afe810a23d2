"""Answers in the formats of the field: what each benchmark's own tool reads, and LLaVA's jsonl."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.core.files import write_atomically
from hydra_mobile.evaluation.store.work_dir import TaskDir

SUBMISSION = "submission"


def write_submissions(job: TaskDir) -> list[Path]:
    """Write a job's answers beside its log and return the files; only answered questions count."""
    asked = job.asked
    texts = {line["key"]: line["text"] for line in job.log.read()}
    samples = [sample for sample in asked.samples if sample.key in texts]
    folder = job.folder / SUBMISSION
    folder.mkdir(exist_ok=True)
    if type(asked.benchmark).write_submission is Benchmark.write_submission:
        return [_write_llava(job, texts, folder)]
    return asked.benchmark.write_submission(samples, texts, folder, model_id(job))


def model_id(job: TaskDir) -> str:
    """Return the name of the model in answer files."""
    return f"{job.artifact.path.absolute().name}-{job.artifact.digest[:8]}"


def _write_llava(job: TaskDir, texts: dict[str, str], folder: Path) -> Path:
    """Write LLaVA's answer lines for a benchmark that the field has no format for."""
    model = model_id(job)
    file = folder / f"{model}.jsonl"
    with write_atomically(file) as temporary, temporary.open("w", encoding="utf-8") as out:
        for sample in job.asked.samples:
            if sample.key not in texts:
                continue
            line = {
                "question_id": sample.key,
                "prompt": job.asked.benchmark.prompt(sample),
                "text": texts[sample.key],
                # The same run writes the same file again.
                "answer_id": uuid.uuid5(uuid.NAMESPACE_OID, f"{model}/{sample.key}").hex,
                "model_id": model,
                "metadata": {},
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return file
