"""Answers in the formats of the field: LLaVA's jsonl, and what each benchmark's own tool reads.

Knows the benchmarks' writers by their interface only. Called by `evaluate`.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from hydra_mobile.evaluation.benchmarks.base import Benchmark
from hydra_mobile.evaluation.sittings import Job
from hydra_mobile.files import write_atomically

LLAVA, SUBMISSION = "answers-llava.jsonl", "submission"


def write_submissions(job: Job) -> list[Path]:
    """Write a job's answers beside its log and return the files; only answered questions count."""
    asked = job.asked
    texts = {line["key"]: line["text"] for line in job.log.read()}
    samples = [sample for sample in asked.samples if sample.key in texts]
    files = [_write_llava(job, texts)]
    if type(asked.benchmark).write_submission is not Benchmark.write_submission:
        folder = job.folder / SUBMISSION
        folder.mkdir(exist_ok=True)
        files += asked.benchmark.write_submission(samples, texts, folder, model_id(job))
    return files


def model_id(job: Job) -> str:
    """Return the name of the model in answer files."""
    return f"{job.artefact.path.absolute().name}-{job.artefact.digest[:8]}"


def _write_llava(job: Job, texts: dict[str, str]) -> Path:
    """Write LLaVA's answer lines, with our keys besides: ids alone do not tell questions apart."""
    file = job.folder / LLAVA
    model = model_id(job)
    with write_atomically(file) as temporary, temporary.open("w", encoding="utf-8") as out:
        for sample in job.asked.samples:
            if sample.key not in texts:
                continue
            line = {
                "question_id": sample.meta.get("question_id", sample.key),
                "prompt": job.asked.benchmark.prompt(sample),
                "text": texts[sample.key],
                # The same run writes the same file again.
                "answer_id": uuid.uuid5(uuid.NAMESPACE_OID, f"{model}/{sample.key}").hex,
                "model_id": model,
                "metadata": {},
                "key": sample.key,
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return file
