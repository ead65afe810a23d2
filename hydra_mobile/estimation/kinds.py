"""The kinds of work that are measured: a key for each that names what decides its time.

Two commands with the same key take equally long on one machine, up to the units that they do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from hydra_mobile.bundle.interface import Limits
from hydra_mobile.config import TrainConfig


class Weighed(Protocol):
    """What a model is, as far as it decides how long work with it takes."""

    @property
    def kind(self) -> str:
        """Run, base, merged folder or bundle."""

    @property
    def runner(self) -> str:
        """What runs it."""

    @property
    def preset(self) -> str:
        """Precision of its weights."""

    @property
    def size_bytes(self) -> int:
        """Bytes of its weights."""

    @property
    def device(self) -> str:
        """Where it runs."""


#: What a run does beside the steps of its stages: loading, features, alignment, saving.
STARTING = "starting"


def training_key(config: TrainConfig, stage: str) -> str:
    """Return the key of a stage of training.

    The unit is an optimizer step; of `STARTING` it is a run.
    """
    run = config.runtime
    parts = ["train", stage, config.base, config.ranks.policy, f"rank {config.ranks.r_ref}"]
    parts += [f"length {config.data.max_length}", f"rows of {config.data.questions_per_row}"]
    parts += [config.data.stage1 if stage == "stage1" else config.data.stage2]
    if stage == STARTING:
        parts += [config.data.stage1, f"{config.stage1.align_steps} steps of alignment"]
    else:
        of_stage = getattr(config, stage)
        parts += [f"batch {of_stage.batch_size} x {of_stage.accumulation}"]
    parts += [run.precision, run.base_precision, f"checkpointing {run.gradient_checkpointing}"]
    parts += [f"compile {run.compile}", _processes(), _threads(run.threads)]
    return ", ".join(parts)


def export_key(
    model: Weighed, target: str, runtime: str, preset: str, limits: Limits, details: Sequence[str]
) -> str:
    """Return the key of an export; its unit is one bundle.

    Args:
        model: as it was given: a run is merged first, if it was not.
        target: of the bundle.
        runtime: of the bundle.
        preset: name of the preset.
        limits: of the bundle.
        details: what else decides the time: how weights are rounded, where the adapter goes.
    """
    parts = ["export", model.kind, f"{model.size_bytes} bytes", target, runtime, preset]
    parts += [f"{limits.max_context} {limits.max_prefill}", *details, _threads(0)]
    return ", ".join(parts)


def evaluation_key(
    models: Sequence[Weighed],
    benchmarks: Sequence[str],
    protocol: str,
    torch_device: str,
    threads: int,
    workers: int,
) -> str:
    """Return the key of an evaluation; its unit is an answer."""
    parts = ["evaluate"]
    parts += [f"{m.runner} {m.preset} {m.size_bytes} bytes on {m.device}" for m in models]
    parts += [*benchmarks, protocol, torch_device, f"{workers} workers", _threads(threads)]
    return ", ".join(parts)


def _processes() -> str:
    return f"{os.environ.get('WORLD_SIZE', '1')} processes"


def _threads(given: int) -> str:
    return f"{given or os.environ.get('OMP_NUM_THREADS', '') or os.cpu_count()} threads"
