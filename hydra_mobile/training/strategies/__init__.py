"""What stage II trains in the language model, by rank policy: one file per strategy.

A strategy puts its tensors into the model, watches the steps, and reports at the end what became
of them. The loop, the checkpoints and the processes are not its business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.policies import POLICIES
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.config import TrainConfig
from hydra_mobile.core.registry import resolve
from hydra_mobile.training.batch_stream import BatchStream
from hydra_mobile.training.data.packing import Row
from hydra_mobile.training.loop import Objective
from hydra_mobile.training.optimizer import NamedAdamW
from hydra_mobile.training.setup import TrainingModel

#: By `ranks.policy`. Every rank policy trains LoRA; the others are strategies of their own.
STRATEGIES = {
    **dict.fromkeys(POLICIES, "hydra_mobile.training.strategies.lora:LoraStrategy"),
    "replay": "hydra_mobile.training.strategies.replay:ReplayStrategy",
    "adalora": "hydra_mobile.training.strategies.adalora:AdaLoraStrategy",
    "full": "hydra_mobile.training.strategies.full:FullStrategy",
}


@dataclass(frozen=True)
class StageTwo:
    """What a strategy may use.

    Attributes:
        config: the run's.
        setup: the model and its processes.
        stream: stage II's rows by step.
        objective: the loss of some rows.
        folder: the run folder; only the first process writes.
        log: shows a line to the user.
    """

    config: TrainConfig
    setup: TrainingModel
    stream: BatchStream
    objective: Objective
    folder: Path
    log: Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What stage II leaves.

    Attributes:
        rank_map: ranks of the LoRA now in the model; None where there is none.
        budget: the parameter budget; None where it does not apply.
        facts: for summary.json.
    """

    rank_map: RankMap | None
    budget: Budget | None
    facts: dict[str, Any]


class Strategy(ABC):
    """One way of training the language model. Steps count optimizer steps of stage II.

    The hooks without a body (noqa: B027) are optional: most strategies need few of them.

    Attributes:
        title: a phrase for tables of policies; empty where the rank policy has its own.
        any_step: whether the state after any step can be the result; False where only the last
            one is within the budget.
        note: a phrase for the progress line, empty where there is nothing to say.
    """

    title: ClassVar[str] = ""
    any_step: ClassVar[bool] = True
    note: str = ""

    def __init__(self, stage: StageTwo) -> None:
        self.stage = stage
        self._wrapped: nn.Module = stage.setup.model

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        """Raise where the settings cannot work; before data or a model is looked at.

        Raises:
            HydraError: names the setting.
        """
        return

    @abstractmethod
    def start(self) -> None:
        """Put fresh trainable tensors into the model."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Put tensors of a checkpoint's shapes into the model; values follow."""

    @abstractmethod
    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what trains along with the projector, by name."""

    @abstractmethod
    def finish(self) -> Result:
        """Leave plain LoRA in the model, or nothing."""

    def begin(self, optimizer: NamedAdamW) -> None:
        """Get ready to step with this optimizer."""
        self.wrap()

    def wrap(self) -> None:
        """Wrap the model; again where its tensors were replaced, which DDP's reducer holds."""
        self._wrapped = self.stage.setup.processes.wrap(self.stage.setup.model)

    @property
    def wrapped(self) -> nn.Module:
        """The module to call in training; may change between steps."""
        return self._wrapped

    def before_step(self, step: int) -> None:  # noqa: B027
        """Prepare for step `step` (from 0), which is about to be taken."""

    def rehearse(self) -> None:  # noqa: B027
        """Bring the model into the state in which a step takes most; for a trial step."""

    def after_backward(  # noqa: B027
        self, step: int, rows: Sequence[Row], scale: float
    ) -> None:
        """See a micro-batch's gradients added to the others.

        `scale` times the loss that went backward is the micro-batch's own mean loss.
        """

    def after_update(self, step: int) -> None:  # noqa: B027
        """See the parameters updated, the gradients still there."""

    def after_step(self, step: int) -> None:  # noqa: B027
        """Do what is due after `step` steps (from 1); their gradients are gone."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold in addition to tensors, as JSON values."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Return tensors that a checkpoint must hold in addition to the trained ones."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Restore what `tensors` returned."""


def strategy_class(policy: str) -> type[Strategy]:
    """Return the strategy of a policy.

    Raises:
        HydraError: the policy is unknown; lists the valid ones.
    """
    found: type[Strategy] = resolve("rank policy", policy, STRATEGIES)
    return found
