"""Settings of the dynamic stage: one class for run configurations, `Hydra` and the controller."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.typed import Count, Positive, Range, Share, ShareBelowOne

#: Policies that may choose the first ranks of policy `hydra`; auto: what its target began with.
Start = Literal[
    "auto", "uniform", "coarse", "coarse_fine", "update_by_kind", "coarse_fine_per_cost"
]


@dataclass(frozen=True)
class DynamicConfig:
    """When ranks may move during stage II, and what decides about it."""

    target: Literal["trailing", "paired_probe", "passive"] = "trailing"
    """What decides about moves. `trailing` compares the last directions of all modules and takes
    no step for it. The others are kept for comparison and abstain in practice: `paired_probe`
    learns from differences in held-out loss between two maps trained on the same batches from the
    same start (costs steps), `passive` from the held-out loss of the run without its trend."""
    margin: Annotated[float, Range(minimum=1, maximum=1e6)] = 16.0
    """`trailing`: how many times more the last directions of a module that grows must be worth
    than those that are given up for it. 8 moves more and has done harm where nothing was to be
    gained."""
    share: Annotated[float, Range(above=0, maximum=1)] = 0.10
    """`trailing`: the share of the budget that may move at an event."""
    events: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5)
    """`trailing`: shares of the steps after which ranks may move."""
    least_steps: Count = 300
    """`trailing`: a shorter run has no events, and none comes in what is less than a third of this
    before the end: ranks do not limit a run before it has learned for a while."""
    undo: bool = True
    """`trailing`: compare the held-out loss without the directions to be dropped before dropping
    them, forward passes only, and keep the map where that does harm. Where two per cent of the
    steps allow for it, also without as many parameters of modules drawn at random."""
    model: Literal["off", "drop_cost"] = "off"
    """`trailing`: `drop_cost` learns during the run, from forward passes that cost at most 2% of
    its steps, what leaving out last directions does to the held-out loss, and decides in place of
    the rule once it ranks left-out outcomes better."""
    warmup: ShareBelowOne = 0.10
    """Share of the steps after which importance is measured, for ranks that follow it; without
    `trailing` it is also when the first event comes."""
    every: Annotated[float, Range(above=0, below=1)] = 0.05
    """Probes: share of the steps between events."""
    until: Share = 0.70
    """Probes: share of the steps after which ranks stay as they are."""
    probe_steps: Positive = 10
    """Probes: steps that a probed map is trained for."""
    candidates: Positive = 2
    """Maps probed at an event. In `hydra-mobile train` the current map costs nothing: training is
    its probe. `HydraCallback` probes it too."""
    probe_share: Annotated[float, Range(minimum=0, maximum=100)] = 0.07
    """Most that probes may add to a run, as a share of its steps; held-out batches count as a
    third of a step's. Without room for a probe, no rank moves."""
    holdout_batches: Positive = 4
    """Micro-batches, the next ones that training has not seen, on which maps are compared.
    `HydraCallback` compares on the batches that it was given instead."""
    observations: str = ""
    """Probes: a ranks.jsonl of an earlier run whose probes the model starts from."""

    def __post_init__(self) -> None:
        # A list where the settings come from JSON.
        object.__setattr__(self, "events", tuple(float(share) for share in self.events))
        wrong = [share for share in self.events if not 0 < share < 1]
        if wrong:
            raise ConfigError(
                f"An event at {wrong[0]} of the run's steps; expected shares between 0 and 1.",
                "For example [0.2, 0.3, 0.4, 0.5].",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return dataclasses.asdict(self) | {"events": list(self.events)}
