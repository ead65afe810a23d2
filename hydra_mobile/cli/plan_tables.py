"""A plan on the terminal: parameters, memory, schedule, settings, and what none of it measured."""

from __future__ import annotations

from dataclasses import asdict

from hydra_mobile.cli import ui
from hydra_mobile.cli.ui.formats import gibibytes
from hydra_mobile.config import STAGE_TITLES
from hydra_mobile.estimation.plan import Plan, StagePlan
from hydra_mobile.estimation.settings import CONTEXT_BYTES, FRAGMENTS, Candidate, worth_showing
from hydra_mobile.reporting.formats import DASH, duration, number

_MEMORY = {
    "weights": "weights",
    "gradients": "gradients",
    "moments": "optimizer moments",
    "activations": "activations kept",
    "transient": "loss, temporaries, batch",
    "averaging": "gradient averaging",
    "copies": "weights rounded to 4 bits",
    "libraries": "libraries",
}


def show_plan(plan: Plan) -> None:
    """Print a plan in at most 80 columns."""
    _parameters(plan)
    _memory(plan)
    ui.blank()
    for stage in plan.stages:
        for line in _schedule(plan, stage):
            ui.line(line)
    for stage in plan.stages:
        ui.blank()
        if stage.candidates:
            _settings(stage, plan.asked.gpus > 1)
        else:
            ui.line(f"{STAGE_TITLES[stage.name]} fits as it is configured.")
    ui.blank()
    for line in _remarks(plan):
        ui.text(line)


def _parameters(plan: Plan) -> None:
    trained = (ui.Column(f"{_title(stage)} trains", right=True) for stage in plan.stages)
    rows = []
    for name, count in plan.parts.items():
        counts = (count.total, *(getattr(count, stage.name) for stage in plan.stages))
        rows.append((name, *(f"{n:,}" if n else DASH for n in counts)))
    ui.table([ui.Column("parameters"), ui.Column("in all", right=True), *trained], rows)


def _memory(plan: Plan) -> None:
    columns = [ui.Column("memory per GPU, GiB")]
    columns += [ui.Column(_title(stage), right=True) for stage in plan.stages]
    rows = []
    for key, title in _MEMORY.items():
        values = [asdict(stage.memory)[key] for stage in plan.stages]
        if any(values):
            rows.append((title, *map(gibibytes, values)))
    rows.append(("peak", *(gibibytes(s.memory.total) for s in plan.stages)))
    fits = ("fits" if stage.fits else "does not fit" for stage in plan.stages)
    rows.append(("as configured", *fits))
    ui.table(columns, rows)


def _schedule(plan: Plan, stage: StagePlan) -> list[str]:
    config = getattr(plan.train, stage.name)
    count = f"{stage.samples.count:,}" if stage.samples.count else "?"
    steps = f"{stage.steps:,}" if stage.steps else "?"
    lines = [
        f"{_title(stage)}: {count} conversations ({stage.samples.source})",
        f"  global batch {stage.global_batch} = {plan.asked.gpus} GPUs x {config.batch_size} x "
        f"{config.accumulation}; {steps} steps",
    ]
    if stage.rate.value is None or stage.hours is None:
        return [*lines, f"  time {stage.rate.source}"]
    return [
        *lines,
        f"  about {duration(3600 * stage.hours)} at {number(stage.rate.value)} conversations a "
        f"second, {stage.rate.source}",
    ]


def _settings(stage: StagePlan, several: bool) -> None:
    ui.line(f"Settings of {_title(stage)}, the best first")
    titles = ("batch_size", "accum.", "global", "checkp.", "base", "distr.", "GiB")
    columns = [ui.Column(title, right=True) for title in titles]
    rows = [_row(candidate, several) for candidate in worth_showing(stage.candidates)]
    ui.table([*columns, ui.Column("")], rows)


def _row(candidate: Candidate, several: bool) -> list[str]:
    s = candidate.setting
    fits = "fits" if candidate.fits else "does not fit"
    return [
        str(s.batch_size),
        str(s.accumulation),
        str(candidate.global_batch),
        "true" if s.gradient_checkpointing else "false",
        s.base_precision,
        s.distributed if several else DASH,
        gibibytes(candidate.needed),
        f"{fits}{', now' if candidate.configured else ''}",
    ]


def _remarks(plan: Plan) -> list[str]:
    rows = "; ".join(
        f"{_title(s)}: {s.rows.tokens} tokens, {s.rows.image_tokens} of them an image"
        for s in plan.stages
    )
    lines = [
        f"Longest row assumed: {rows}, all text learned (--tokens, --stage1-tokens).",
        "Simulated: each tensor of a forward and backward pass, at the smallest and the largest "
        "batch_size; those between lie on a line.",
        "Computed, not simulated: 4-bit weights, fsdp, gradient averaging. Not measured on a GPU: "
        "any of it.",
        f"`fits` and the table of settings add {100 * FRAGMENTS:.0f}% for fragments and "
        f"{CONTEXT_BYTES / 2**30:g} GiB for CUDA.",
        "Best first: without recomputation, in full precision, unsharded, in large micro-batches; "
        "a rule of thumb, no measured speed.",
    ]
    if not plan.asked.global_batch:
        lines.append(
            "A learning rate belongs to a global batch: --global-batch N lists the settings that "
            "keep one on another number of GPUs."
        )
    ranks = plan.train.ranks
    if ranks.policy == "hydra" and ranks.dynamic.target == "paired_probe":
        share = ranks.dynamic.probe_share
        lines.append(f"HyDRA's probes may add up to {100 * share:.0f}% to the steps of stage II.")
    return lines


def _title(stage: StagePlan) -> str:
    return STAGE_TITLES[stage.name]
