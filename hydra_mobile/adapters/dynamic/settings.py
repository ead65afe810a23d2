"""Settings of the dynamic stage: one class for run configurations, `Hydra` and the controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from hydra_mobile.core.typed import Positive, Range, Share, ShareBelowOne


@dataclass(frozen=True)
class DynamicConfig:
    """When ranks may move during stage II, and what may be spent on finding out where to."""

    warmup: ShareBelowOne = 0.10
    """Share of the steps before the first event; importance is measured at its end."""
    every: Annotated[float, Range(above=0, below=1)] = 0.05
    """Share of the steps between events."""
    until: Share = 0.70
    """Share of the steps after which ranks stay as they are."""
    target: Literal["paired_probe", "passive"] = "paired_probe"
    """What the performance model learns from: the difference in held-out loss between two maps
    trained on the same batches from the same start (costs steps), or the held-out loss of the run
    itself without its trend (free, and nearly always too little to act on)."""
    probe_steps: Positive = 10
    """Steps that a probed map is trained for."""
    candidates: Positive = 2
    """Maps probed at an event. In `hydra-mobile train` the current map costs nothing: training is
    its probe. `HydraCallback` probes it too."""
    probe_share: Annotated[float, Range(minimum=0, maximum=100)] = 0.07
    """Most that probes may add to a run, as a share of its steps; held-out batches count as a
    third of a step's. Without room for a probe, no rank moves."""
    holdout_batches: Positive = 4
    """Micro-batches, the next ones that training has not seen, on which probes are compared.
    `HydraCallback` compares on the batches that it was given instead."""
    observations: str = ""
    """A ranks.jsonl of an earlier run whose probes the model starts from."""
