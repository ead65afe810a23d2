"""The settings that keep a stage's global batch and fit a GPU.

Candidates differ in micro-batch and accumulation, recomputation, 4-bit base and sharding. Of those
that fit, the ones that are expected to cost least time come first; that order is a rule of thumb
and was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hydra_mobile.config import TrainConfig
from hydra_mobile.estimation.memory import Setting, StageSimulation

# CUDA's own context and NCCL, then what the caching allocator loses to fragments. Not measured.
CONTEXT_BYTES = 2**30
FRAGMENTS = 0.05


@dataclass(frozen=True)
class Candidate:
    """A setting, what it needs, and whether that fits.

    Attributes:
        setting: the setting.
        global_batch: conversations per optimizer step.
        needed: bytes of the estimate with context and fragments.
        fits: whether `needed` is there.
        configured: whether this is what the configuration says.
    """

    setting: Setting
    global_batch: int
    needed: int
    fits: bool
    configured: bool


def needed_bytes(total: int) -> int:
    """Return what a GPU must have for an estimate of `total` bytes."""
    return round(total * (1 + FRAGMENTS)) + CONTEXT_BYTES


def batch_sizes(per_gpu: int, configured: int) -> list[int]:
    """Return the micro-batches to try for `per_gpu` conversations a step: powers of two and both.

    The smallest and the largest are those at which passes have to be simulated.
    """
    powers = {2**n for n in range(per_gpu.bit_length())}
    return sorted({*powers, per_gpu, configured})


def configured_setting(train: TrainConfig, stage: str) -> Setting:
    """Return the setting of a stage as configured."""
    of_stage = getattr(train, stage)
    return Setting(
        of_stage.batch_size,
        of_stage.accumulation,
        train.runtime.gradient_checkpointing,
        train.runtime.base_precision,
        train.runtime.distributed,
    )


def candidates(
    simulation: StageSimulation,
    train: TrainConfig,
    stage: str,
    *,
    gpus: int,
    global_batch: int,
    gpu_bytes: int,
) -> list[Candidate]:
    """Return every candidate, the best first.

    Args:
        simulation: of the stage; passes are simulated where they are missing.
        train: the run, for what is configured now.
        stage: "stage1" or "stage2".
        gpus: processes.
        global_batch: conversations per optimizer step to keep; rounded up to what can be dealt
            out evenly.
        gpu_bytes: memory of one GPU.
    """
    now = configured_setting(train, stage)
    per_gpu = math.ceil(global_batch / gpus)
    found = []
    sizes = batch_sizes(per_gpu, now.batch_size)
    for checkpointing in (False, True):
        for size in (sizes[0], sizes[-1]):
            simulation.simulate(size, checkpointing)
        for precision, distributed in _bases(train, gpus):
            for size in sizes:
                accumulation = math.ceil(per_gpu / size)
                if size == now.batch_size and gpus * size * now.accumulation == global_batch:
                    accumulation = now.accumulation
                setting = Setting(size, accumulation, checkpointing, precision, distributed)
                needed = needed_bytes(simulation.memory(setting, gpus).total)
                found.append(
                    Candidate(
                        setting,
                        gpus * size * accumulation,
                        needed,
                        needed <= gpu_bytes,
                        setting == now,
                    )
                )
    return sorted(found, key=_preference)


def _bases(train: TrainConfig, gpus: int) -> list[tuple[str, str]]:
    """Return pairs of base precision and distribution that the trainer accepts."""
    pairs = [("full", "ddp")]
    if train.ranks.policy != "full":
        pairs.append(("4bit", "ddp"))
        if gpus > 1 and not train.runtime.compile:
            pairs.append(("full", "fsdp"))
    return pairs


def _preference(candidate: Candidate) -> tuple[bool, bool, bool, bool, int]:
    setting = candidate.setting
    return (
        not candidate.fits,
        # Recomputing costs about a third; expanding four bits and gathering layers cost less.
        setting.gradient_checkpointing,
        setting.base_precision == "4bit",
        setting.distributed == "fsdp",
        -setting.batch_size if candidate.fits else candidate.needed,
    )


def worth_showing(found: Sequence[Candidate]) -> list[Candidate]:
    """Return what a person wants to see of `candidates`, in their order.

    Of each kind the best one, unless a simpler kind fits as large a micro-batch; in full precision
    and unsharded also the first that no longer fits; and what is configured.
    """
    shown: list[Candidate] = []
    for candidate in found:
        if not any(_same_kind(candidate, c) or _dominates(c, candidate) for c in shown):
            shown.append(candidate)
    for best in list(shown):
        if best.fits and _is_plain(best):
            larger = [c for c in found if _same_kind(best, c) and not c.fits]
            shown += sorted(larger, key=lambda c: c.setting.batch_size)[:1]
    shown += [c for c in found if c.configured and c not in shown]
    return sorted(shown, key=_preference)


def _kind(candidate: Candidate) -> tuple[bool, str, str]:
    s = candidate.setting
    return s.gradient_checkpointing, s.base_precision, s.distributed


def _same_kind(a: Candidate, b: Candidate) -> bool:
    return _kind(a) == _kind(b)


def _is_plain(candidate: Candidate) -> bool:
    return _kind(candidate)[1:] == ("full", "ddp")


def _dominates(simple: Candidate, other: Candidate) -> bool:
    """Return whether a plain candidate does all that another offers."""
    return (
        simple.fits
        and _is_plain(simple)
        and simple.setting.gradient_checkpointing <= other.setting.gradient_checkpointing
        and not _is_plain(other)
        and simple.setting.batch_size >= other.setting.batch_size
    )
