"""peft's AdaLoRA in our loop: the baseline whose ranks fall by masking, at an equal budget.

The allocator and the meaning of "equal" are in `hydra_mobile/adapters/adalora.py`. The logged
loss is the one that trains and includes peft's orthogonality penalty; the result is plain LoRA.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hydra_mobile.adapters.adalora import AdaLora
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.training.adapted_modules import adapted_modules
from hydra_mobile.training.optimizer import NamedAdamW
from hydra_mobile.training.strategies import Result, StageTwo, Strategy


class AdaLoraStrategy(Strategy):
    """Policy `adalora`."""

    title = "peft's AdaLoRA: ranks fall by masking during training"
    any_step = False

    def __init__(self, stage: StageTwo) -> None:
        if stage.config.runtime.compile:
            raise ConfigError(
                "runtime.compile is not made for AdaLoRA's layers.", "Switch one of the two off."
            )
        super().__init__(stage)
        model = stage.setup.model
        if model.whole is not model:
            raise ConfigError(
                "ranks.policy=adalora runs on MobileVLM's class alone: peft's AdaLoRA calls the "
                "forward of the model that it wraps.",
                "Choose another policy, for example ranks.policy=hydra.",
            )
        self.budget = Budget.of(model.whole, adapted_modules(model), stage.config.ranks.r_ref)
        self._history = RankHistory.of_run(stage.folder)
        self._adalora: AdaLora

    def start(self) -> None:
        """Put AdaLoRA's layers in and record their first ranks."""
        self._build()
        held = self._adalora.held()
        self.stage.log(
            f"ranks: AdaLoRA from {self._adalora.initial_rank} to {self._adalora.target_rank} on "
            f"average; {held:,} parameters train, of {self.budget.reference:,} that uniform LoRA "
            "has"
        )
        self._log(0, "initial", "AdaLoRA's initial ranks", self._adalora.ranks())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put AdaLoRA's layers in again."""
        self._build()

    def parameters(self) -> dict[str, nn.Parameter]:
        """See `Strategy`."""
        return self._adalora.parameters()

    def begin(self, optimizer: NamedAdamW) -> None:
        """See `Strategy`."""
        self._wrapped = self.stage.setup.processes.wrap(self._adalora.model)

    def after_update(self, step: int) -> None:
        """Give the allocator the step's gradients."""
        before = self._adalora.ranks()
        ranks = self._adalora.update(step + 1)
        if ranks is not None and ranks != before:
            self._log(step + 1, "resized", "AdaLoRA's allocation", ranks)

    def tensors(self) -> dict[str, Tensor]:
        """Return the allocator's averages and masks."""
        trained = self._adalora.parameters()
        return {name: t for name, t in self._adalora.state().items() if name not in trained}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the allocator."""
        trained = {name: p.detach().clone() for name, p in self._adalora.parameters().items()}
        self._adalora.load({**trained, **tensors})

    def finish(self) -> Result:
        """Turn what was kept into plain LoRA."""
        held = self._adalora.held()
        rank_map = self._adalora.to_lora()
        if self.stage.setup.processes.main:
            rank_map.write(self.stage.folder / "rank_map.json")
        return Result(rank_map, self.budget, {"lora": held, "kept": self.budget.cost_of(rank_map)})

    def _build(self) -> None:
        config = self.stage.config
        self._adalora = AdaLora.build(
            self.stage.setup.model.whole,
            list(self.budget.cost),
            self.budget,
            alpha_ref=config.ranks.alpha_ref,
            total_steps=self.stage.stream.steps,
            dropout=config.ranks.dropout,
            warmup_share=config.ranks.dynamic.warmup,
            final_share=1.0 - config.ranks.dynamic.until,
            seed=config.seed,
        )

    def _log(self, step: int, kind: str, reason: str, ranks: RankMap) -> None:
        if not self.stage.setup.processes.main:
            return
        self._history.append(
            {
                "step": step,
                "event": kind,
                "policy": "adalora",
                "reason": reason,
                "parameters": self._adalora.held(),
                "reference": self.budget.reference,
                "digest": ranks.digest(),
                "ranks": dict(ranks),
            }
        )
        ranks.write(self.stage.folder / "rank_map.json")
