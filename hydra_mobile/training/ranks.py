"""From a model and its data to a rank map: which linears, how important, how many ranks.

The bridge between the trainer and `hydra_mobile.adapters`, which knows no MobileVLM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.importance import Importance, measure
from hydra_mobile.adapters.lora_layers import adapted_linears
from hydra_mobile.adapters.policies import PolicyInput, allocate, needs_importance
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.config import RanksConfig

#: The seven linears of a Llama layer that MobileVLM's LoRA adapts.
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapted_modules(model: nn.Module) -> list[str]:
    """Return the full names of the language model's linears that get an adapter."""
    return [
        name
        for name in adapted_linears(model)
        if name.startswith("language_model.model.layers.") and name.rsplit(".", 1)[-1] in LINEARS
    ]


def choose_ranks(
    model: nn.Module,
    config: RanksConfig,
    seed: int,
    batches: Iterable[Any],
    loss_fn: Callable[[nn.Module, Any], Tensor],
) -> tuple[Budget, RankMap, Importance | None]:
    """Measure importance where the policy needs it, and return the budget and the map.

    Args:
        model: the frozen base with its stage I projector.
        config: policy, reference rank, bounds.
        seed: for the control policy `random`.
        batches: calibration micro-batches; not touched by a policy that measures nothing.
        loss_fn: `(model, batch) -> loss`.
    """
    budget = Budget.of(model, adapted_modules(model), config.r_ref)
    importance: Importance | None = None
    if needs_importance(config.policy):
        importance = measure(model, budget.cost, batches, loss_fn)
    inputs = PolicyInput(
        budget=budget,
        importance=importance.mean_of_norms if importance else None,
        rank_step=config.rank_step,
        r_min=config.r_min,
        r_max=config.r_max or None,
        seed=seed,
        map_file=Path(config.map_file) if config.map_file else None,
    )
    return budget, allocate(config.policy, inputs), importance
