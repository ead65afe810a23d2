"""What a person asks about a training run, known before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """What the person asks about a run.

    Attributes:
        gpus: processes.
        gpu_memory: of each, in GiB.
        samples: conversations of stage I and II; 0: count.
        tokens: longest row of stage I and II; 0: assume.
        global_batch: for the table of settings of stage II; 0: as configured on `gpus`.
        samples_per_second: of all GPUs; 0: not known.
        measured: folder of a run whose log gives the rate.
    """

    gpus: int
    gpu_memory: float
    samples: tuple[int, int] = (0, 0)
    tokens: tuple[int, int] = (0, 0)
    global_batch: int = 0
    samples_per_second: float = 0.0
    measured: Path | None = None
