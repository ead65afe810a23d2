"""The whole estimate of a run: counts, memory, steps, hours, settings.

Puts the other modules together; prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hydra_mobile.adapters.qat import bytes_for
from hydra_mobile.config import StageConfig, TrainConfig
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.estimation.architecture import base_config
from hydra_mobile.estimation.asked import Asked
from hydra_mobile.estimation.memory import Rows, StageMemory, StageSimulation
from hydra_mobile.estimation.model import PartCount, part_counts, planned_model
from hydra_mobile.estimation.schedule import (
    Rate,
    Samples,
    given_rate,
    measured_rate,
    samples_of,
    steps_of,
)
from hydra_mobile.estimation.settings import (
    Candidate,
    candidates,
    configured_setting,
    needed_bytes,
)
from hydra_mobile.models.tiles import Grid
from hydra_mobile.training.processes import require_shardable

STAGES = ("stage1", "stage2")
# Text tokens of the longest caption: of short ones (stage I), and where the template says that a
# stage in the place of stage II learns captions. Assumptions, printed with the result.
_SHORT_CAPTION = 128
_LONG_CAPTION = 512
# Batches are padded to multiples of this.
_LENGTH_STEP = 32


@dataclass(frozen=True)
class StagePlan:
    """One stage.

    Attributes:
        name: "stage1" or "stage2".
        rows: the largest micro-batch that was assumed.
        memory: of one GPU as configured.
        fits: whether that fits with context and fragments.
        samples: of its data file.
        global_batch: conversations per step as configured.
        steps: optimizer steps; None where the samples are not known.
        rate: conversations per second.
        hours: None where rate or steps are not known.
        candidates: settings that keep the global batch, the best first; empty for a stage I that
            fits as it is.
    """

    name: str
    rows: Rows
    memory: StageMemory
    fits: bool
    samples: Samples
    global_batch: int
    steps: int | None
    rate: Rate
    hours: float | None
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Plan:
    """A run's estimate."""

    train: TrainConfig
    asked: Asked
    parts: dict[str, PartCount]
    stages: tuple[StagePlan, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file; bytes, seconds and counts as numbers."""
        asked = asdict(self.asked)
        asked["measured"] = str(self.asked.measured) if self.asked.measured else None
        stages = []
        for stage in self.stages:
            value = asdict(stage)
            value["memory"]["total"] = stage.memory.total
            value["memory"]["needed"] = needed_bytes(stage.memory.total)
            stages.append(value)
        return {
            "schema": 1,
            "gpu_numbers_measured": False,
            "asked": asked,
            "config": self.train.to_dict(),
            "parameters": {name: asdict(count) for name, count in self.parts.items()},
            "stages": stages,
        }


def make_plan(
    train: TrainConfig, asked: Asked, log: Callable[[str], None] = lambda _: None
) -> Plan:
    """Estimate a run.

    Raises:
        ConfigError: the base is not known, or settings that exclude each other.
        DataError: a data file is there and is no LLaVA json.
    """
    if asked.gpus < 1 or not asked.gpu_memory > 0:
        raise ConfigError(
            f"--gpus {asked.gpus} --gpu-memory {asked.gpu_memory}: expected at least one GPU "
            "with some GiB."
        )
    if train.runtime.distributed == "fsdp" and asked.gpus > 1:
        require_shardable(train)
    if train.ranks.policy == "full" and train.runtime.base_precision == "4bit":
        raise ConfigError(
            "ranks.policy=full trains every weight, and four-bit weights cannot be trained.",
            "Use base_precision=full, or an adapter policy.",
        )
    config = base_config(train.base)
    parts = part_counts(config, train)
    names = [n for n in STAGES if n == "stage2" or train.data.stage1]
    return Plan(
        train, asked, parts, tuple(_stage(config, train, asked, name, log) for name in names)
    )


def _stage(
    config: Any,
    train: TrainConfig,
    asked: Asked,
    name: str,
    log: Callable[[str], None],
) -> StagePlan:
    of_stage: StageConfig = getattr(train, name)
    number = STAGES.index(name)
    samples = samples_of(getattr(train.data, name), asked.samples[number])
    steps = steps_of(of_stage, samples.count, asked.gpus)
    global_batch = asked.gpus * of_stage.batch_size * of_stage.accumulation
    rate = _rate(asked, name)
    log(f"simulating {name}")
    model = planned_model(config, train, name)
    rows = _rows(model, train, name, asked.tokens[number])
    simulation = StageSimulation(
        model, train, rows, bytes_for(model.language_model) if of_stage.qat else 0
    )
    setting = configured_setting(train, name)
    simulation.simulate(setting.batch_size, setting.gradient_checkpointing)
    memory = simulation.memory(setting, asked.gpus)
    available = round(asked.gpu_memory * 2**30)
    fits = needed_bytes(memory.total) <= available
    found: list[Candidate] = []
    if name == "stage2" or not fits:
        found = candidates(
            simulation,
            train,
            name,
            gpus=asked.gpus,
            global_batch=(asked.global_batch if name == "stage2" else 0) or global_batch,
            gpu_bytes=available,
        )
    hours = steps * global_batch / rate.value / 3600 if steps and rate.value else None
    return StagePlan(
        name, rows, memory, fits, samples, global_batch, steps, rate, hours, tuple(found)
    )


def _rows(model: Any, train: TrainConfig, stage: str, given: int) -> Rows:
    """Return the largest row to expect: a caption, or as long as the configuration allows."""
    of_stage: StageConfig = getattr(train, stage)
    tiles = Grid.parse(train.data.tiles) if train.data.tiles else None
    squares = tiles.rows * tiles.columns + 1 if tiles else 1
    # The few tokens between tiles are text.
    image_tokens = squares * model.num_image_tokens
    tokens = given or train.data.max_length
    if not given and stage == "stage1":
        tokens = min(tokens, image_tokens + _SHORT_CAPTION)
    elif not given and of_stage.template == "plain":
        tokens = min(tokens, image_tokens + _LONG_CAPTION)
    if tokens <= image_tokens:
        raise ConfigError(
            f"{stage}: the longest row has {tokens} tokens, of which an image takes "
            f"{image_tokens}.",
            "Raise data.max_length.",
        )
    tokens = -(-tokens // _LENGTH_STEP) * _LENGTH_STEP
    size = model.image_size
    return Rows(tokens, image_tokens, size, masked=train.data.share_prefix, squares=squares)


def _rate(asked: Asked, stage: str) -> Rate:
    if asked.measured:
        return measured_rate(asked.measured, stage, asked.gpus)
    if asked.samples_per_second:
        return given_rate(asked.samples_per_second)
    return Rate(None, "not known: give --samples-per-second or --measured RUN")
