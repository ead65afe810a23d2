"""What stage II trains in the language model, by rank policy: one file per way of training.

A method puts its tensors into the model, watches the steps, and says at the end what became of
them. The loop, the checkpoints and the processes are not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.policies import POLICIES
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.config import TrainConfig
from hydra_mobile.core.registry import resolve
from hydra_mobile.training.data.packing import Row
from hydra_mobile.training.loop import BatchStream, Objective
from hydra_mobile.training.optimizer import NamedAdamW
from hydra_mobile.training.setup import Session

_LORA = "hydra_mobile.training.strategies.lora:LoraMethod"
METHODS = {
    **dict.fromkeys(POLICIES, _LORA),
    "replay": "hydra_mobile.training.strategies.replay:ReplayMethod",
    "adalora": "hydra_mobile.training.strategies.adalora:AdaLoraMethod",
    "full": "hydra_mobile.training.strategies.full:FullMethod",
}


@dataclass(frozen=True)
class StageTwo:
    """What a method may use.

    Attributes:
        config: the run's.
        session: the model and its processes.
        stream: stage II's rows by step.
        objective: the loss of some rows.
        folder: the run folder; only the first process writes.
        say: tells the person.
    """

    config: TrainConfig
    session: Session
    stream: BatchStream
    objective: Objective
    folder: Path
    say: Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What stage II leaves.

    Attributes:
        rank_map: ranks of the LoRA now in the model; None where there is none.
        budget: the ledger; None where it does not apply.
        facts: for summary.json.
    """

    rank_map: RankMap | None
    budget: Budget | None
    facts: dict[str, Any]


class Method(Protocol):
    """One way of training the language model. Steps count optimizer steps of stage II."""

    def start(self) -> None:
        """Put fresh trainable tensors into the model."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put tensors of a checkpoint's shapes into the model; values follow."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what trains beside the projector, by name."""

    def begin(self, optimizer: NamedAdamW) -> None:
        """Get ready to step with this optimizer."""

    @property
    def wrapped(self) -> nn.Module:
        """The module to call in training; may change between steps."""

    def before_step(self, step: int) -> None:
        """Step `step` (from 0) is about to be taken."""

    def after_backward(self, step: int, rows: Sequence[Row]) -> None:
        """A micro-batch went backward; its gradients are added to the others."""

    def after_update(self, step: int) -> None:
        """The parameters moved; the gradients are still there."""

    def after_step(self, step: int) -> None:
        """`step` steps (from 1) are done and their gradients gone."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold beside tensors, as JSON values."""

    def tensors(self) -> dict[str, Tensor]:
        """Return tensors that a checkpoint must hold beside the trained ones."""

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned."""

    def finish(self) -> Result:
        """Leave plain LoRA in the model, or nothing."""


def method_for(stage: StageTwo) -> Method:
    """Return the method of the configured policy.

    Raises:
        HydraError: the policy is unknown; lists the valid ones.
    """
    kind: Callable[[StageTwo], Method] = resolve("rank policy", stage.config.ranks.policy, METHODS)
    return kind(stage)
