"""Several artefacts, one benchmark, one table: starts the workers and collects what they wrote.

Knows how results become rows of the report; knows no runtime.
"""

from __future__ import annotations

import hashlib
import json
import os
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
from hydra_export.targets.base import TEXT_DECODER
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
#: A lead of the best token over the second that rounding of weights can easily overturn.
_CLOSE = 1.0
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

    Questions are answered by as many processes as there are cores, one thread each: small models
    gain little from a second thread. Speed is measured afterwards, one artefact at a time with
    all threads. The first trained torch artefact is the reference of agreement and parity.

    Args:
        artefacts: in the order of the table.
        task: benchmark and sizes.
        work: folder for answers; what is there already is not done again.
        console: for progress.
    """
    benchmark: Benchmark = resolve("benchmark", task.benchmark, BENCHMARKS)(task.data)
    samples = benchmark.samples(splits=task.splits, limit=task.limit)
    jobs = [_job(artefact, task, work) for artefact in artefacts]
    cores = task.threads or os.cpu_count() or 1
    _answer_all(jobs, len(samples), cores, console)
    _measure_all(jobs, cores, console)
    done = [
        Evaluated(
            artefact,
            folder,
            read_answers(folder / ANSWERS),
            read_json(folder / FACTS, "the facts of an evaluation"),
        )
        for artefact, folder in jobs
    ]
    reference = next((e for e in done if _ROLES[e.artefact.kind] == "reference"), None)
    systems = [_system(e, benchmark, samples, reference) for e in done]
    parity = [
        _parity(e, reference)
        for e in done
        if reference is not None and e is not reference and _ROLES[e.artefact.kind] != "untrained"
    ]
    return systems, parity


def _job(artefact: Artefact, task: Task, work: Path) -> tuple[Artefact, Path]:
    """Return the artefact and the folder of its answers, with the request written."""
    request = {
        "artefact": str(artefact.path),
        "digest": artefact.digest,
        "runner": artefact.runner,
        "benchmark": task.benchmark,
        "data": str(task.data),
        "splits": list(task.splits),
        "limit": task.limit,
    }
    # A name that changes with the request: answers of another artefact are never taken for these.
    key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:12]
    folder = work / f"{artefact.kind}-{artefact.runner}-{artefact.preset}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / REQUEST, request)
    return artefact, folder


def _answer_all(
    jobs: Sequence[tuple[Artefact, Path]], count: int, cores: int, console: Console
) -> None:
    """Run the answering workers, `cores` at a time, under one progress bar."""
    waiting = [job for job in jobs if _count_lines(job[1] / ANSWERS) < count]
    running: list[tuple[Artefact, Path, subprocess.Popen[bytes]]] = []
    done = last = sum(_count_lines(folder / ANSWERS) for _, folder in jobs)
    total = count * len(jobs)
    with StageProgress(console, "answering", total, done, "questions") as bar:
        try:
            while waiting or running:
                while waiting and len(running) < cores:
                    artefact, folder = waiting.pop(0)
                    running.append((artefact, folder, _start(folder, "answer", 1)))
                time.sleep(_POLL_SECONDS)
                for job in [job for job in running if job[2].poll() is not None]:
                    running.remove(job)
                    _require_success(*job)
                done = sum(_count_lines(folder / ANSWERS) for _, folder in jobs)
                if done > last:
                    names = ", ".join(artefact.name for artefact, _, _ in running)
                    bar.advance(done, done - last, names)
                    last = done
        finally:
            for _, _, process in running:
                process.terminate()
                process.wait()


def _measure_all(jobs: Sequence[tuple[Artefact, Path]], cores: int, console: Console) -> None:
    """Measure speed and memory, one artefact at a time."""
    with StageProgress(console, "timing", len(jobs), 0, "systems") as bar:
        for number, (artefact, folder) in enumerate(jobs, 1):
            if not (folder / FACTS).is_file():
                process = _start(folder, "measure", cores)
                try:
                    process.wait()
                finally:
                    process.terminate()
                _require_success(artefact, folder, process)
            bar.advance(number, 1, artefact.name)


def _start(folder: Path, task: str, threads: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile.evaluation.worker"]
    # OpenMP reads its variable once, before any code of ours could set it.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with (folder / f"{task}.log").open("w") as log:
        return subprocess.Popen(
            [*command, task, str(folder), str(threads)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
        )


def _require_success(artefact: Artefact, folder: Path, process: subprocess.Popen[bytes]) -> None:
    if process.returncode:
        logs = sorted(folder.glob("*.log"), key=lambda file: file.stat().st_mtime)
        said = logs[-1].read_text().strip()
        raise HydraError(f"Evaluating {artefact.name} failed:\n{said[-2000:]}")


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
    agreement, reasons = None, {}
    if reference is not None and evaluated is not reference and role != "untrained":
        agreement = _agreement(samples, texts, reference)
        if any(texts[key] != answer["text"] for key, answer in reference.answers.items()):
            reasons["agreement"] = _why_answers_differ(samples, texts, reference)
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
        reasons=reasons,
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


def _why_answers_differ(
    samples: Sequence[Sample], texts: dict[str, str], reference: Evaluated
) -> str:
    """Say which kinds of question differ, and how sure the reference was of those answers."""
    same: dict[str, list[bool]] = {}
    margins: dict[bool, list[float]] = {True: [], False: []}
    for sample in samples:
        theirs = reference.answers[sample.key]
        equal = texts[sample.key] == theirs["text"]
        same.setdefault(sample.kind, []).append(equal)
        margins[equal].append(theirs["margin"])
    kinds = ", ".join(f"{kind} {np.mean(values):.0%}" for kind, values in same.items())
    close = sum(margin < _CLOSE for margin in margins[False])
    sure = f"{np.median(margins[True]):.2f}" if margins[True] else "none"
    return (
        f"same answers by kind: {kinds}. Of the {len(margins[False])} that differ, the reference "
        f"decided {close} by less than {_CLOSE:g} logit; its median lead was "
        f"{np.median(margins[False]):.2f} there and {sure} where the answers agree."
    )


def _bundle_facts(path: Path) -> tuple[Delegation | None, tuple[str, ...]]:
    manifest = Bundle.open(path, verify_hashes=False).manifest
    fallbacks = tuple(manifest["fallbacks"])
    # Only ExecuTorch delegates. The decoder stands for the program: it runs once a token.
    decoder = manifest["details"].get("delegation", {}).get(TEXT_DECODER)
    if decoder is None:
        return None, fallbacks
    shares = decoder["share_of_nodes"], decoder["share_of_multiply_accumulates"]
    return Delegation(*shares), fallbacks


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
