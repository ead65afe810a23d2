"""From answers and facts to an artifact's row of the report: scores, timings, delegation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import TEXT_DECODER
from hydra_mobile.bundle.memory.phones import CLASSES, usable_bytes
from hydra_mobile.core.files import read_json
from hydra_mobile.core.integrity import read_sealed
from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.devices.describe import described
from hydra_mobile.evaluation.results.agreement import agreement_of
from hydra_mobile.evaluation.results.paired import samples_digest
from hydra_mobile.evaluation.store.predictions import ArtifactResults, Predictions
from hydra_mobile.evaluation.store.work_dir import FACTS, ArtifactDir, TaskDir
from hydra_mobile.reporting.evidence import PhoneMemory
from hydra_mobile.reporting.results import (
    BenchmarkRun,
    Delegation,
    Score,
    Spread,
    SystemResult,
    Timings,
)

#: How pictures became squares, in the words of the protocols.
_FITS = {
    "pad": "mean color, to a square",
    "crop": "none, middle square",
    "stretch": "none, stretched",
    "tiles": "none, in squares",
}


def collect(folder: ArtifactDir, out: Path) -> ArtifactResults:
    """Read what the workers of an artifact wrote; `out` is the report's folder."""
    facts = read_sealed(
        folder.folder / FACTS,
        "the facts of an evaluation",
        f"Remove {folder.folder / FACTS}; speed and memory are measured again.",
    )
    return ArtifactResults(folder, facts, tuple(_predictions(task, out) for task in folder.tasks))


def system_of(results: ArtifactResults, reference: ArtifactResults | None) -> SystemResult:
    """Return an artifact's row of the report."""
    artifact, facts = results.folder.artifact, results.facts
    agreement, reasons = agreement_of(results, reference)
    delegation: Delegation | None = None
    fallbacks: tuple[str, ...] = ()
    phone: PhoneMemory | None = None
    errors: dict[str, float] = {}
    if artifact.kind == "bundle":
        delegation, fallbacks = bundle_facts(artifact.path)
        manifest = Bundle.open(artifact.path, verify_hashes=False).manifest
        phone, errors = phone_memory(manifest), output_errors(manifest)
    speed, load = facts["speed"], facts["load_seconds"]
    return SystemResult(
        name=artifact.name,
        runtime=artifact.runner,
        preset=artifact.preset,
        role=results.role,
        artefact=artifact.path.name,
        source_hash=artifact.digest,
        size_bytes=artifact.size_bytes,
        timings=Timings(
            load=Spread.of([] if load is None else [load]),
            encode=Spread.of(speed["encode"]),
            prefill_tokens_per_second=Spread.of(speed["prefill_rate"]),
            first_token=Spread.of(speed["first_token"]),
            decode_tokens_per_second=Spread.of(speed["decode_rate"]),
        ),
        peak_memory_bytes=facts["peak_memory_bytes"],
        delegation=delegation,
        scores=tuple(score for each in results.predictions for score in _scores(each)),
        agreement=agreement,
        threads=facts["threads"],
        fallbacks=fallbacks,
        reasons=reasons,
        runs=tuple(each.run for each in results.predictions),
        device=described(facts["device"]) if "device" in facts else (),
        phone=phone,
        output_errors=errors,
        # Of timings that an earlier version took it is not known.
        others=facts.get("others"),
    )


#: Parts of a bundle's memory that stay; the largest of the others comes on top.
_STAYS = ("weights", "cache", "tokenizer", "runtime")
_PASSES = {"loading": "loading a weight", "picture": "the image", "prefill": "the prompt"}


def phone_memory(manifest: Mapping[str, Any]) -> PhoneMemory | None:
    """Return the memory on phones that a bundle's manifest estimates; None in older bundles."""
    found = manifest.get("footprint")
    if not found or "app" not in found:
        return None
    parts = {name: int(found[name]) for name in _STAYS}
    largest = max(_PASSES, key=lambda name: int(found[name]))
    parts[_PASSES[largest]] = int(found[largest])
    usable = {f"{gib:g}": usable_bytes(gib) for gib in CLASSES}
    return PhoneMemory(parts, int(found["peak"]), int(found["app"]), usable, str(found["basis"]))


def output_errors(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Return what rounding to 4 bits changed of each unit's output, as the manifest tells it."""
    details = manifest.get("details", {})
    # Its key on disk has the older spelling.
    found = details.get("quantisation", {}).get("output_errors", {})
    return {str(name): float(error) for name, error in found.items()}


def bundle_facts(path: Path) -> tuple[Delegation | None, tuple[str, ...]]:
    """Return what a bundle's manifest says of delegation, and its fallbacks."""
    manifest = Bundle.open(path, verify_hashes=False).manifest
    fallbacks = tuple(manifest["fallbacks"])
    # The decoder stands for the program: it runs once a token. CoreML tells nothing.
    decoder = manifest["details"].get("delegation", {}).get(TEXT_DECODER)
    if decoder is None:
        return None, fallbacks
    # Bundles of earlier versions know delegates only, not the fused kernels beside them.
    nodes, work = (
        decoder.get(f"fast_{share}", decoder[share])
        for share in ("share_of_nodes", "share_of_multiply_accumulates")
    )
    return Delegation(nodes, work), fallbacks


def _predictions(task: TaskDir, out: Path) -> Predictions:
    """Read the answers to a benchmark and add up their times."""
    lines: dict[str, AnswerLine] = {}
    encode, first_token = [], []
    seconds = inside = 0.0
    for line in task.log.read():
        lines[line.key] = line
        seconds += line.seconds
        inside += line.runner_seconds
        if line.encode_seconds is not None and line.first_token_seconds is not None:
            encode.append(line.encode_seconds)
            first_token.append(line.first_token_seconds)
    benchmark, samples = task.spec.benchmark, task.spec.samples
    notes = [read_json(f, "a worker's notes") for f in sorted(task.folder.glob("worker-*.json"))]
    facts = dict(benchmark.protocol_facts())
    if notes:
        # What the model's own preprocessing did, whatever the protocol expects of it.
        facts["padding"] = _FITS[notes[0]["image_fit"]]
    endings = Counter(line.ended for line in lines.values() if line.ended)
    run = BenchmarkRun(
        benchmark=benchmark.name,
        protocol=benchmark.protocol,
        facts=facts,
        sources=tuple(str(name) for name in facts.get("files", ())),
        questions=len(samples),
        answered=len(lines),
        samples=samples_digest(samples),
        answers=_below(task.log.file, out),
        timings=Timings(encode=Spread.of(encode), first_token=Spread.of(first_token)),
        seconds=seconds,
        runner_share=inside / seconds if seconds else None,
        peak_memory_bytes=max(
            (n for note in notes if (n := note["peak_memory_bytes"])), default=None
        ),
        cut_by_context=endings["context"] if endings else None,
        cut_by_length=endings["length"] if endings else None,
    )
    return Predictions(task, lines, run)


def _below(file: Path, out: Path) -> str:
    return str(file.relative_to(out)) if file.is_relative_to(out) else file.name


def _scores(predictions: Predictions) -> list[Score]:
    spec = predictions.task.spec
    found = spec.benchmark.score(spec.samples, predictions.texts, partial=predictions.partial)
    return [
        Score(
            benchmark=spec.benchmark.name,
            split=score.name,
            kind=score.kind,
            value=score.value,
            low=score.low,
            high=score.high,
            n=score.n,
            majority=score.majority,
            unit=score.unit,
            headline=score.headline,
            unread=score.unread,
        )
        for score in found
    ]
