"""From artifacts to a written report: evaluates, adds what the run folder knows, renders."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.about import licenses, names, titles
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import read_json
from hydra_mobile.core.progress import SILENT, Log, Progress, silent
from hydra_mobile.evaluation.evaluate import EvalSettings, evaluate
from hydra_mobile.evaluation.results.questions import image_address
from hydra_mobile.evaluation.results.rank_history import rank_history
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.registry import LICENSES
from hydra_mobile.reporting import environment
from hydra_mobile.reporting.evidence import TrainingAnswer
from hydra_mobile.reporting.results import SystemResult
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.training_section import (
    LossPoint,
    ParameterCounts,
    StageFacts,
    TrainingSection,
)
from hydra_mobile.reporting.write import new_report, write_report
from hydra_mobile.runtimes.model_ref import ModelRef
from hydra_mobile.training.metrics import MetricsFile


def report_on(
    artifacts: Sequence[ModelRef],
    settings: EvalSettings,
    out: Path,
    log: Log = silent,
    progress: Progress = SILENT,
) -> Report | None:
    """Evaluate and write report.json, .md and .html to `out`; return the report.

    Of a shard that others complete there is nothing to report yet: None.
    """
    called = ", ".join(names(settings.benchmarks))
    report = new_report(f"hydra-mobile: {called}", environment.collect())
    # Before the minutes of answering: a damaged run folder must not cost them.
    training = _training(artifacts)
    results = evaluate(artifacts, settings, out, log, progress)
    if results is None:
        return None
    report = dataclasses.replace(
        report,
        systems=results.systems,
        parity=results.parity,
        comparisons=results.comparisons,
        training=training,
        protocol=f"{_protocols(results.systems)}, greedy, batch 1, image prefix kept in the cache",
        notes=_notes(settings, results.systems),
        licences=licenses(settings.benchmarks)
        | (LICENSES.get(training.base, {}) if training else {}),
        titles=titles(settings.benchmarks),
        questions=results.questions,
    )
    write_report(report, out)
    return report


def _protocols(systems: Sequence[SystemResult]) -> str:
    """Return "pope (llava-1.5), mme (llava-1.5)"."""
    runs = [run for system in systems for run in system.runs]
    return ", ".join(dict.fromkeys(f"{run.benchmark} ({run.protocol})" for run in runs))


def _notes(settings: EvalSettings, systems: Sequence[SystemResult]) -> tuple[str, ...]:
    notes = [
        "Decode and prefill rates: one image, a short question, 32 new tokens with "
        "end-of-answer ignored, five repeats after a warm-up, one system at a time. Peak memory is "
        "that process's resident set, the runtime included.",
    ]
    if settings.limit:
        notes.append(f"About {settings.limit} questions of each split were evaluated, not all.")
    for system in systems:
        notes += [
            f"Incomplete: {system.name} answered {run.answered} of {run.questions} questions of "
            f"{run.benchmark}; its scores are of those."
            for run in system.runs
            if not run.complete
        ]
        notes += [
            f"Cut short: {run.cut_by_context} of {run.answered} answers of {system.name} to "
            f"{run.benchmark} were cut because its context was full; other systems of the report "
            "may have had more room."
            for run in system.runs
            if run.cut_by_context
        ]
    return tuple(notes)


def _training(artifacts: Sequence[ModelRef]) -> TrainingSection | None:
    for artifact in artifacts:
        for folder in (artifact.path, artifact.path.parent):
            if (folder / "summary.json").is_file() and artifact.kind != "bundle":
                return _section(folder)
    return None


def _section(run: Path) -> TrainingSection:
    summary: dict[str, Any] = read_json(run / "summary.json", "the summary of a run")
    # A run that trained all weights has no rank map.
    map_file = run / "rank_map.json"
    ranks = read_json(map_file, "a rank map")["ranks"] if map_file.is_file() else {}
    stages = []
    for name, steps in summary["steps"].items():
        seconds = summary["seconds"].get(name)
        conversations = summary["conversations"].get(name)
        rate = conversations / seconds if conversations and seconds else None
        stages.append(StageFacts(name, steps, seconds, rate))
    metrics = MetricsFile(run / "metrics.jsonl").read()
    return TrainingSection(
        base=summary["base"],
        policy=summary["policy"],
        r_ref=summary["r_ref"],
        parameters=ParameterCounts(**summary["parameters"]),
        stages=tuple(stages),
        peak_memory_bytes=summary["peak_memory_bytes"],
        loss=tuple(LossPoint(m["stage"], m["step"], m["loss"]) for m in metrics if "loss" in m),
        rank_map=ranks,
        rank_history=rank_history(run, summary["steps"].get("stage2", 0)),
        held_out=tuple(
            LossPoint(m["stage"], m["step"], m["validation_loss"])
            for m in metrics
            if "validation_loss" in m
        ),
        answers=tuple(_training_answers(run)),
    )


def _training_answers(run: Path) -> Iterator[TrainingAnswer]:
    """Yield the answers to held-out questions at the first and the last validation."""
    lines = MetricsFile(run / "samples.jsonl").read()
    steps = [line["step"] for line in lines]
    for line in lines:
        if line["step"] in (min(steps), max(steps)):
            yield TrainingAnswer(
                step=int(line["step"]),
                question=str(line.get("question", "")),
                expected=str(line.get("expected", "")),
                answer=str(line.get("answer", "")),
                image=_image_of(line.get("image")),
            )


def _image_of(path: str | None) -> str:
    try:
        return image_address(open_picture(Path(path))) if path else ""
    except HydraError:
        # The training data may be gone by now.
        return ""
