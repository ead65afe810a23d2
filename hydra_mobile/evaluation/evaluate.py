"""Several artefacts, one benchmark, one table: starts the workers and collects what they wrote.

Knows how results become rows of the report; knows no runtime.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from hydra_export.bundle import Bundle
from hydra_mobile.errors import HydraError
from hydra_mobile.evaluation.artefacts import Artefact
from hydra_mobile.evaluation.benchmarks import BENCHMARKS
from hydra_mobile.evaluation.benchmarks.base import Benchmark, Sample
from hydra_mobile.evaluation.worker import ANSWERS, FACTS, LOGITS, REQUEST, read_answers
from hydra_mobile.files import read_json, write_json
from hydra_mobile.progress import StageProgress
from hydra_mobile.registry import resolve
from hydra_mobile.reporting.schema import (
    Agreement,
    Delegation,
    ParityRow,
    Score,
    Spread,
    SystemResult,
    Timings,
)

_POLL_SECONDS = 0.5
#: Logits of an exported fp32 program stay this close to torch.
FP32_LOGITS_TOLERANCE = 1e-3
_ROLES = {"base": "untrained", "run": "reference", "merged": "reference", "bundle": "export"}


@dataclass(frozen=True)
class Task:
    """What is asked of every artefact."""

    benchmark: str
    data: Path
    splits: tuple[str, ...] = ()
    limit: int | None = None
    threads: int = 0


@dataclass(frozen=True)
class Evaluated:
    """An artefact's answers and facts."""

    artefact: Artefact
    folder: Path
    answers: dict[str, dict[str, Any]]
    facts: dict[str, Any]


def evaluate(
    artefacts: Sequence[Artefact], task: Task, work: Path, console: Console
) -> tuple[list[SystemResult], list[ParityRow]]:
    """Let every artefact answer, and return the report's rows.

    The first trained torch artefact is the reference of agreement and parity.

    Args:
        artefacts: in the order of the table.
        task: benchmark and sizes.
        work: folder for answers; what is there already is not done again.
        console: for progress.
    """
    benchmark: Benchmark = resolve("benchmark", task.benchmark, BENCHMARKS)(task.data)
    samples = benchmark.samples(splits=task.splits, limit=task.limit)
    done = [_run_worker(a, task, len(samples), work, console) for a in artefacts]
    reference = next((e for e in done if _ROLES[e.artefact.kind] == "reference"), None)
    systems = [_system(e, benchmark, samples, reference) for e in done]
    parity = [
        _parity(e, reference)
        for e in done
        if reference is not None and e is not reference and _ROLES[e.artefact.kind] != "untrained"
    ]
    return systems, parity


def _run_worker(
    artefact: Artefact, task: Task, count: int, work: Path, console: Console
) -> Evaluated:
    request = {
        "artefact": str(artefact.path),
        "digest": artefact.digest,
        "runner": artefact.runner,
        "benchmark": task.benchmark,
        "data": str(task.data),
        "splits": list(task.splits),
        "limit": task.limit,
        "threads": task.threads,
    }
    # A name that changes with the request: answers of another artefact are never taken for these.
    key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:12]
    folder = work / f"{artefact.kind}-{artefact.runner}-{artefact.preset}-{key}"
    if not (folder / FACTS).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / REQUEST, request)
        _watch(artefact.name, folder, count, console)
    return Evaluated(
        artefact,
        folder,
        read_answers(folder / ANSWERS),
        read_json(folder / FACTS, "the facts of an evaluation"),
    )


def _watch(name: str, folder: Path, count: int, console: Console) -> None:
    """Run the worker and show how far it is."""
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile.evaluation.worker", str(folder)]
    start = last = len(read_answers(folder / ANSWERS))
    with (
        (folder / "log.txt").open("w") as log,
        StageProgress(console, f"evaluate {name}", count, start, "questions") as bar,
        subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                done = _count_lines(folder / ANSWERS)
                if done > last:
                    bar.advance(done, done - last, "")
                    last = done
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        said = (folder / "log.txt").read_text().strip()
        raise HydraError(f"Evaluating {name} failed:\n{said[-2000:]}")


def _count_lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _system(
    evaluated: Evaluated,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    reference: Evaluated | None,
) -> SystemResult:
    artefact, facts = evaluated.artefact, evaluated.facts
    texts = {sample.key: evaluated.answers[sample.key]["text"] for sample in samples}
    scores = tuple(
        Score(benchmark.name, s.name, s.kind, s.value, s.low, s.high, s.n, s.majority)
        for s in benchmark.score(samples, texts)
    )
    role: Any = _ROLES[artefact.kind]
    agreement = None
    if reference is not None and evaluated is not reference and role != "untrained":
        agreement = _agreement(samples, texts, reference)
    delegation: Delegation | None = None
    fallbacks: tuple[str, ...] = ()
    if artefact.kind == "bundle":
        delegation, fallbacks = _bundle_facts(artefact.path)
    speed = facts["speed"]
    return SystemResult(
        name=artefact.name,
        runtime=artefact.runner,
        preset=artefact.preset,
        role=role,
        artefact=artefact.path.name,
        source_hash=artefact.digest,
        size_bytes=artefact.size_bytes,
        timings=Timings(
            load=Spread.of([facts["load_seconds"]]),
            encode=Spread.of(speed["encode"]),
            prefill_tokens_per_second=Spread.of(speed["prefill_rate"]),
            first_token=Spread.of(speed["first_token"]),
            decode_tokens_per_second=Spread.of(speed["decode_rate"]),
        ),
        peak_memory_bytes=facts["peak_memory_bytes"],
        delegation=delegation,
        scores=scores,
        agreement=agreement,
        threads=facts["threads"],
        fallbacks=fallbacks,
    )


def _agreement(
    samples: Sequence[Sample], texts: dict[str, str], reference: Evaluated
) -> dict[str, Agreement]:
    result = {}
    for split in dict.fromkeys(sample.split for sample in samples):
        keys = [sample.key for sample in samples if sample.split == split]
        same = sum(texts[key] == reference.answers[key]["text"] for key in keys)
        result[split] = Agreement(same, len(keys))
    return result


def _bundle_facts(path: Path) -> tuple[Delegation | None, tuple[str, ...]]:
    manifest = Bundle.open(path, verify_hashes=False).manifest
    found = manifest["details"].get("delegation") or {}
    whole = found.get("total") or {}
    delegation = Delegation(whole.get("nodes"), whole.get("macs")) if whole else None
    return delegation, tuple(manifest.get("fallbacks", ()))


def _parity(evaluated: Evaluated, reference: Evaluated) -> ParityRow:
    """Compare first logits on the questions whose logits were kept, and all answers."""
    largest, mean, cosines, top1 = 0.0, [], [], []
    for file in sorted((evaluated.folder / LOGITS).glob("*.npy")):
        ours = np.load(file).astype(np.float64)
        theirs = np.load(reference.folder / LOGITS / file.name).astype(np.float64)
        difference = np.abs(ours - theirs)
        largest = max(largest, float(difference.max()))
        mean.append(float(difference.mean()))
        norms = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
        cosines.append(float(ours @ theirs) / norms)
        top1.append(float(ours.argmax() == theirs.argmax()))
    same = [
        evaluated.answers[key]["ids"] == answer["ids"] for key, answer in reference.answers.items()
    ]
    exact = evaluated.artefact.preset == "fp32"
    verdict: Any = "not gated"
    if exact:
        verdict = "pass" if largest <= FP32_LOGITS_TOLERANCE else "fail"
    return ParityRow(
        rung=f"{reference.artefact.name} vs {evaluated.artefact.name} ({len(mean)} questions)",
        max_abs=largest,
        mean_abs=float(np.mean(mean)),
        cosine=float(np.min(cosines)),
        top1_agreement=float(np.mean(top1)),
        greedy_match=float(np.mean(same)),
        tolerance=FP32_LOGITS_TOLERANCE if exact else None,
        verdict=verdict,
    )
