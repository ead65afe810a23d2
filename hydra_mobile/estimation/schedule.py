"""How many samples a stage has, how many steps that makes, and how long they take.

Counts come from the data file where it is on disk, else from the person, else from what is known of
the published files. Rates come from the person or from a run's own log.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.config import StageConfig
from hydra_mobile.core.errors import ArtifactError, ConfigError
from hydra_mobile.core.files import read_json
from hydra_mobile.data.source import Source
from hydra_mobile.training.metrics import MetricsFile

#: name of a published file -> its records.
PUBLISHED_COUNTS = {"blip_laion_cc_sbu_558k": 558_128, "llava_v1_5_mix665k": 665_298}
_COUNT_IN_NAME = re.compile(r"(\d+)([kKmM])(?![a-zA-Z])")


@dataclass(frozen=True)
class Samples:
    """How many conversations a data file has; None where nobody knows."""

    count: int | None
    source: str


def samples_of(file: str, given: int = 0) -> Samples:
    """Count the conversations of a data file.

    Args:
        file: as in the configuration.
        given: what the person says; 0: nothing.

    Raises:
        DataError: the file is there and is no LLaVA json.
    """
    path = Path(file)
    if given:
        return Samples(given, "as given")
    if file and path.exists():
        return Samples(Source(path).count(), f"counted in {file}")
    if path.stem in PUBLISHED_COUNTS:
        return Samples(PUBLISHED_COUNTS[path.stem], "published; the file is not here")
    if found := _COUNT_IN_NAME.search(path.stem):
        number, unit = found.groups()
        thousands = {"k": 1_000, "m": 1_000_000}[unit.lower()]
        return Samples(int(number) * thousands, "roughly, by the name; the file is not here")
    return Samples(None, "not known: the file is not here; give --samples")


def steps_of(stage: StageConfig, samples: int | None, gpus: int) -> int | None:
    """Return the optimizer steps of a stage, give or take one or two per epoch."""
    if stage.steps:
        return stage.steps
    if samples is None:
        return None
    batches = math.ceil(samples / stage.batch_size)
    return max(1, math.ceil(round(stage.epochs * batches) / (stage.accumulation * gpus)))


@dataclass(frozen=True)
class Rate:
    """Conversations per second of a whole run; None where nobody knows."""

    value: float | None
    source: str


def given_rate(samples_per_second: float) -> Rate:
    """Return a rate that the person gives.

    Raises:
        ConfigError: it is not above 0.
    """
    if not samples_per_second > 0:
        raise ConfigError(f"--samples-per-second is {samples_per_second}, expected above 0.")
    return Rate(samples_per_second, "as given, of all GPUs together")


def measured_rate(run: Path, stage: str, gpus: int) -> Rate:
    """Return the rate that a run's log shows, for `gpus` processes.

    The time between its first and its last logged step counts, so that start-up does not.

    Args:
        run: folder of a run, finished or not.
        stage: "stage1" or "stage2".
        gpus: processes to scale to: as many times what one process did.

    Raises:
        ArtifactError: the folder has no log.
    """
    metrics = MetricsFile(run / "metrics.jsonl")
    if not metrics.path.is_file():
        raise ArtifactError(
            f"{metrics.path} is missing: --measured needs the folder of a run.",
            "Name one, or give --samples-per-second.",
        )
    lines = [m for m in metrics.read() if m["stage"] == stage and "seconds" in m]
    processes, device = 1, "a device that only its summary.json would name"
    if (run / "summary.json").is_file():
        summary = read_json(run / "summary.json", "the summary of a run")
        processes, device = int(summary.get("processes", 1)), str(summary.get("device", device))
    if len(lines) < 2 or not lines[-1]["seconds"] > lines[0]["seconds"]:
        return Rate(None, f"{run} logged no two steps of {stage}")
    first, last = lines[0], lines[-1]
    seconds = last["seconds"] - first["seconds"]
    one = (last["conversations"] - first["conversations"]) / seconds / processes
    return Rate(
        one * gpus,
        f"{gpus} x the {one:.3g} a second of one process in {run} ({processes} on {device}); "
        "whether more GPUs scale like that was not measured",
    )
