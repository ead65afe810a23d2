"""What a training run on this machine will do, before it does it: counts, steps, cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.config import TrainConfig
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.estimation.architecture import base_config
from hydra_mobile.estimation.cost import Cost, cost_of, free_bytes_at
from hydra_mobile.estimation.kinds import STARTING, training_key
from hydra_mobile.estimation.measured import remember
from hydra_mobile.estimation.model import PartCount, part_counts
from hydra_mobile.estimation.schedule import samples_of, steps_of

#: A larger data file is not counted for a plan: training reads it anyway, and says.
_COUNTED_BYTES = 64e6
#: A trained value in a checkpoint: itself and two moments, fp32; in the adapter: itself.
_CHECKPOINT_BYTES, _ADAPTER_BYTES = 12, 4
#: Checkpoints that are on the disk at once while a new one is written.
_CHECKPOINTS = 2


@dataclass(frozen=True)
class StageWork:
    """What one stage has to do.

    Attributes:
        name: "stage1" or "stage2".
        file: its data.
        conversations: in the file; None where it was not counted.
        steps: optimizer steps; None where they depend on what was not counted.
    """

    name: str
    file: str
    conversations: int | None
    steps: int | None


@dataclass(frozen=True)
class TrainingWork:
    """A run that has not begun.

    Attributes:
        config: its settings.
        stages: in the order of training.
        parts: parameters by part, with those that each stage trains; None where the base is not
            on this machine yet.
        cost: of all of it.
    """

    config: TrainConfig
    stages: tuple[StageWork, ...]
    parts: dict[str, PartCount] | None
    cost: Cost

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        parts = self.parts or {}
        return {
            "output": self.config.output,
            "base": self.config.base,
            "policy": self.config.ranks.policy,
            "stages": [vars(stage) for stage in self.stages],
            "parameters": {name: vars(count) for name, count in parts.items()},
            "cost": self.cost.to_dict(),
        }


def training_work(config: TrainConfig, processes: int = 1) -> TrainingWork:
    """Return what a run will do; reads data files that are small, and no weights.

    Args:
        config: the settings.
        processes: of the run.

    Raises:
        DataError: a data file is not LLaVA json.
    """
    stages = tuple(
        _stage(config, name, processes)
        for name in ("stage1", "stage2")
        if getattr(config.data, name)
    )
    try:
        parts = part_counts(base_config(config.base), config)
    except ConfigError:
        parts = None  # a named base that the run will fetch
    return TrainingWork(config, stages, parts, _cost(config, stages, parts))


def _stage(config: TrainConfig, name: str, processes: int) -> StageWork:
    file = getattr(config.data, name)
    path = Path(file)
    count = None
    if path.is_file() and path.stat().st_size <= _COUNTED_BYTES:
        count = samples_of(file).count
    return StageWork(name, file, count, steps_of(getattr(config, name), count, processes))


def _cost(
    config: TrainConfig, stages: tuple[StageWork, ...], parts: dict[str, PartCount] | None
) -> Cost:
    out = Path(config.output)
    disk = None
    if parts:
        trained = max(sum(getattr(p, stage.name) for p in parts.values()) for stage in stages)
        disk = trained * (_CHECKPOINTS * _CHECKPOINT_BYTES + _ADAPTER_BYTES)
    costs = [cost_of(training_key(config, s.name), s.steps, out) for s in stages]
    costs.append(cost_of(training_key(config, STARTING), 1, out))
    seconds = [cost.seconds for cost in costs]
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes]
    known = [second for second in seconds if second is not None]
    return Cost(
        sum(known) if known and len(known) == len(seconds) else None,
        max(peaks, default=None),
        disk,
        free_bytes_at(out),
        min((cost.measured for cost in costs if cost.measured), default=None),
    )


def remember_training(config: TrainConfig, summary: dict[str, Any], seconds: float) -> None:
    """Keep what a finished run took, for the plans of later ones.

    Args:
        config: of the run, which was not interrupted.
        summary: its summary.json.
        seconds: from its beginning to its end, loading and saving included.
    """
    rest = seconds
    for stage, steps in summary["steps"].items():
        spent = summary["seconds"].get(stage)
        if stage in ("stage1", "stage2") and steps and spent:
            rest -= spent
            remember(training_key(config, stage), steps, spent, summary["peak_memory_bytes"])
    remember(training_key(config, STARTING), 1, max(rest, 0.1), None)
