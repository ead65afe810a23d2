"""A plan on the terminal: parameters, memory, schedule, settings, and what none of it measured."""

from __future__ import annotations

from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hydra_mobile.estimation.plan import Plan, StagePlan
from hydra_mobile.estimation.settings import CONTEXT_BYTES, FRAGMENTS, Candidate, worth_showing
from hydra_mobile.reporting.formats import DASH, duration, number

_TITLES = {"stage1": "stage I", "stage2": "stage II"}
_MEMORY = {
    "weights": "weights",
    "gradients": "gradients",
    "moments": "optimizer moments",
    "activations": "activations kept",
    "transient": "loss, temporaries, batch",
    "averaging": "gradient averaging",
    "libraries": "libraries",
}


def print_plan(plan: Plan, console: Console) -> None:
    """Print a plan in at most 80 columns."""
    train, asked = plan.train, plan.asked
    many = "s" if asked.gpus > 1 else ""
    _line(
        console,
        f"{train.base}, policy {train.ranks.policy}, on {asked.gpus} GPU{many} of "
        f"{asked.gpu_memory:g} GiB",
        "bold",
    )
    console.print(_parameters(plan))
    console.print(_memory(plan))
    for stage in plan.stages:
        for line in _schedule(plan, stage):
            _line(console, line)
    for stage in plan.stages:
        if stage.candidates:
            _settings(stage, asked.gpus > 1, console)
        else:
            _line(console, f"\n{_TITLES[stage.name]} fits as it is configured.")
    for line in _remarks(plan):
        _line(console, line, "dim")


def _parameters(plan: Plan) -> Table:
    trained = (f"{_title(stage)} trains" for stage in plan.stages)
    table = _table("parameters", "in all", *trained)
    for name, count in plan.parts.items():
        counts = (count.total, *(getattr(count, stage.name) for stage in plan.stages))
        table.add_row(name, *(f"{n:,}" if n else DASH for n in counts))
    return table


def _memory(plan: Plan) -> Table:
    table = _table("memory per GPU, GiB", *(_title(stage) for stage in plan.stages))
    for key, title in _MEMORY.items():
        values = [asdict(stage.memory)[key] for stage in plan.stages]
        if any(values):
            table.add_row(title, *map(_gib, values))
    table.add_row("peak", *(_gib(s.memory.total) for s in plan.stages), style="bold")
    fits = ("fits" if stage.fits else "does not fit" for stage in plan.stages)
    table.add_row("as configured", *fits)
    return table


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


def _settings(stage: StagePlan, several: bool, console: Console) -> None:
    _line(console, f"\nsettings of {_title(stage)}, the best first", "bold")
    table = _table("batch_size", "accum.", "global", "checkp.", "base", "distr.", "GiB", "")
    for candidate in worth_showing(stage.candidates):
        table.add_row(*_row(candidate, several))
    console.print(table)


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
        _gib(candidate.needed),
        f"{fits}{', now' if candidate.configured else ''}",
    ]


def _remarks(plan: Plan) -> list[str]:
    rows = "; ".join(
        f"{_title(s)}: {s.rows.tokens} tokens, {s.rows.image_tokens} of them a picture"
        for s in plan.stages
    )
    lines = [
        "",
        f"Longest row assumed: {rows}, all text learned (--tokens, --stage1-tokens).",
        "Simulated: each tensor of a forward and backward pass, at the smallest and the largest "
        "batch_size; those between lie on a line.",
        "Computed, not simulated: 4-bit weights, fsdp, gradient averaging. Not measured on a GPU: "
        "any of it.",
        f"`fits` and the table of settings add {100 * FRAGMENTS:.0f} % for fragments and "
        f"{CONTEXT_BYTES / 2**30:g} GiB for CUDA.",
        "Best first: without recomputation, in full precision, unsharded, in large micro-batches; "
        "a rule of thumb, no measured speed.",
    ]
    if not plan.asked.global_batch:
        lines.append(
            "A learning rate belongs to a global batch: --global-batch N lists the settings that "
            "keep one on another number of GPUs."
        )
    if plan.train.ranks.policy == "hydra":
        share = plan.train.ranks.dynamic.probe_share
        lines.append(f"HyDRA's probes may add up to {100 * share:.0f} % to the steps of stage II.")
    return lines


def _table(first: str, *titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    return table


def _title(stage: StagePlan) -> str:
    return _TITLES[stage.name]


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
