"""What a command is about to do, as facts: inputs, counts, machine, place and cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_mobile.cli.ui.formats import about, count, gibibytes, megabytes, millions
from hydra_mobile.config import STAGE_TITLES
from hydra_mobile.estimation.cost import Cost, free_bytes_at, this_machine

if TYPE_CHECKING:
    from hydra_mobile.api.evaluate import Evaluation
    from hydra_mobile.api.export import ExportWork
    from hydra_mobile.api.training import TrainingWork


def cost_text(cost: Cost) -> str:
    """Return what work costs and where that is known from; nothing is guessed."""
    parts = []
    if cost.seconds is not None:
        parts.append(about(cost.seconds))
    if cost.peak_bytes is not None:
        parts.append(f"peak memory {gibibytes(cost.peak_bytes)} GiB")
    if cost.seconds is None and cost.peak_bytes is None:
        parts.append("time and memory unknown")
    elif cost.seconds is None:
        parts.append("time unknown")
    elif cost.peak_bytes is None:
        parts.append("memory unknown")
    return f"{'; '.join(parts)}: {cost.basis}"


def disk_text(cost: Cost) -> str:
    """Return the disk that work takes, and what is free."""
    free = f"{megabytes(cost.free_bytes)} are free" if cost.free_bytes is not None else ""
    needed = f"at most {megabytes(cost.disk_bytes)}" if cost.disk_bytes is not None else ""
    return "; ".join(part for part in (needed, free) if part)


def disk_free(folder: Path) -> str:
    """Return how much the disk of a folder has free."""
    return megabytes(free_bytes_at(folder))


def machine_text() -> str:
    """Return this machine's cores and memory."""
    machine = this_machine()
    cores = f"{machine.cores} CPU core{'s' if machine.cores > 1 else ''}"
    return f"{cores}, {gibibytes(machine.memory_bytes)} GiB of memory"


def training_facts(work: TrainingWork) -> dict[str, str]:
    """Return what a run will do."""
    config, parts = work.config, work.parts
    weights = sum(part.total for name, part in parts.items() if name != "adapters") if parts else 0
    trains = ""
    if parts:
        last = work.stages[-1].name
        named = {name: getattr(part, last) for name, part in parts.items()}
        trains = ", ".join(f"{name} {millions(n)}" for name, n in named.items() if n)
    steps = [
        f"{STAGE_TITLES[s.name]} {count(s.steps) if s.steps else 'all of its data'}"
        for s in work.stages
    ]
    return {
        "base": f"{config.base}, {millions(weights)} weights"
        if parts
        else f"{config.base}, not on this machine yet",
        "data": "\n".join(
            f"{STAGE_TITLES[s.name]} {s.file}"
            + (f": {count(s.conversations)} conversations" if s.conversations else "")
            for s in work.stages
        ),
        "trains": trains,
        "ranks": f"{config.ranks.policy}, reference rank {config.ranks.r_ref}",
        "steps": ", ".join(steps),
        **_end(work.cost),
    }


def export_facts(work: ExportWork) -> dict[str, str]:
    """Return what an export will make."""
    limits = work.limits
    return {
        "model": f"{work.model.path}, {work.model.kind}",
        "runtime": work.runtime,
        "preset": work.preset.name,
        "calibrated": f"on {work.calibrate.file}" if work.calibrate else "",
        "limits": f"{limits.max_context} tokens of context, {limits.max_prefill} in one call",
        "out": str(work.out),
        **_end(work.cost),
    }


def evaluation_facts(evaluation: Evaluation, models: Mapping[str, str]) -> dict[str, str]:
    """Return what an evaluation will answer.

    Args:
        evaluation: the evaluation.
        models: its models as they were named -> their name in the report.
    """
    by_split = evaluation.questions.items()
    parts = (f"{count(n)} {benchmark} {split}".rstrip() for (benchmark, split), n in by_split)
    each = sum(evaluation.questions.values())
    settings = evaluation.settings
    torch = any(model.runner == "torch" for model in evaluation.models)
    return {
        "models": "\n".join(f"{name}: {given}" for given, name in models.items()),
        "questions": f"{count(each)} for each model: {', '.join(parts)}",
        "data": str(settings.data),
        "torch on": settings.torch_device if torch else "",
        "out": str(evaluation.out),
        **_end(evaluation.cost),
    }


def _end(cost: Cost) -> dict[str, str]:
    return {"machine": machine_text(), "disk": disk_text(cost), "estimate": cost_text(cost)}
