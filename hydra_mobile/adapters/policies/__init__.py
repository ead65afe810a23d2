"""Rank policies by name: each is one file with one class that turns `PolicyInput` into a `RankMap`.

A new policy is one new file plus one line in `POLICIES`: what is known about it (its title, whether
it needs importance, whether its ranks move in training) is on its class. AdaLoRA is not here: it
chooses its ranks from gradients during training (`adalora.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.allocate_layers import require_finite
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.registry import resolve

POLICIES: dict[str, str] = {
    "hydra": "hydra_mobile.adapters.policies.hydra:HydraPolicy",
    "coarse_fine": "hydra_mobile.adapters.policies.coarse_fine:CoarseFinePolicy",
    "coarse": "hydra_mobile.adapters.policies.coarse:CoarsePolicy",
    "update_by_kind": "hydra_mobile.adapters.policies.update_by_kind:UpdateByKindPolicy",
    "uniform": "hydra_mobile.adapters.policies.uniform:UniformPolicy",
    "random": "hydra_mobile.adapters.policies.random:RandomPolicy",
    "reversed": "hydra_mobile.adapters.policies.reversed:ReversedPolicy",
    "coarse_fine_per_cost": (
        "hydra_mobile.adapters.policies.coarse_fine_per_cost:CoarseFinePerCostPolicy"
    ),
    "coarse_kmeans": "hydra_mobile.adapters.policies.coarse_kmeans:CoarseKMeansPolicy",
    "fixed": "hydra_mobile.adapters.policies.fixed:FixedPolicy",
}


@dataclass(frozen=True)
class PolicyInput:
    """What a policy may look at.

    Attributes:
        budget: the parameter budget; its `r_ref` is the uniform rank.
        importance: measured score by module name, for the policies that need it.
        rank_step: ranks are multiples of this.
        r_min: lowest rank, a multiple of `rank_step`; 0 lets a module go without an adapter.
        r_max: highest rank, a multiple of `rank_step`; None means twice `r_ref`, rounded down to
            the grid.
        seed: seeds the random policy.
        map_file: the file of policy `fixed`.
    """

    budget: Budget
    importance: Mapping[str, float] | None = None
    rank_step: int = 8
    r_min: int = 8
    r_max: int | None = None
    seed: int = 0
    map_file: Path | None = None

    @property
    def grid(self) -> Grid:
        """The ranks that a module may have."""
        return Grid.of(self.budget.r_ref, self.rank_step, self.r_min, self.r_max)

    def scores(self) -> Mapping[str, float]:
        """Return the importance of the budget's modules, in its order.

        Raises:
            ConfigError: nothing was measured, a module is missing, or a score is not finite.
        """
        if self.importance is None:
            raise ConfigError("This rank policy needs measured importance, and none was given.")
        missing = [name for name in self.budget.cost if name not in self.importance]
        if missing:
            raise ConfigError(f"The importance of `{missing[0]}` was not measured.")
        scores = {name: self.importance[name] for name in self.budget.cost}
        require_finite(scores)
        return scores


class Policy(ABC):
    """One way of choosing ranks.

    Attributes:
        title: a phrase for tables of policies.
        needs_importance: whether `ranks` reads `PolicyInput.importance`.
        on_grid: whether the ranks keep to `PolicyInput.grid`.
        moves: whether the dynamic stage goes on from these ranks during training.
    """

    title: ClassVar[str]
    needs_importance: ClassVar[bool] = False
    on_grid: ClassVar[bool] = True
    moves: ClassVar[bool] = False

    @abstractmethod
    def ranks(self, inputs: PolicyInput) -> RankMap:
        """Return ranks within the budget; the same inputs give the same ranks.

        Raises:
            ConfigError: an input is missing, or the budget cannot be met with the grid.
        """


def policy_named(name: str) -> Policy:
    """Return a policy.

    Raises:
        HydraError: there is none of that name; lists the valid ones.
    """
    kind: type[Policy] = resolve("rank policy", name, POLICIES)
    return kind()


def allocate(policy: str, inputs: PolicyInput) -> RankMap:
    """Return the ranks that a policy chooses, checked against the budget.

    Raises:
        HydraError: unknown policy; ConfigError or BudgetError: see the policy.
    """
    rank_map = policy_named(policy).ranks(inputs)
    inputs.budget.check(rank_map)
    return rank_map
