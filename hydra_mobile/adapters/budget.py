"""The parameter budget: what each rank costs, and what uniform LoRA costs, which is never exceeded.

All arithmetic is in exact integers.

For a linear with `in` inputs and `out` outputs a LoRA of rank r has r * (in + out) parameters;
the reference is r_ref of that for every adapted linear. A sum of *ranks* is not a budget: moving
ranks from attention to the wider feed-forward matrices keeps the sum and adds parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from hydra_mobile.adapters.lora_layers import adapted_linears, lora_tensors
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import BudgetError, ConfigError
from hydra_mobile.core.registry import nearest


@dataclass(frozen=True)
class Budget:
    """Cost per rank of every linear that may be adapted, and the reference total.

    Attributes:
        cost: `{module name: parameters per rank}`, in the order the names were given.
        r_ref: rank of the uniform LoRA that sets the total.
    """

    cost: Mapping[str, int]
    r_ref: int

    def __post_init__(self) -> None:
        if self.r_ref < 1:
            raise ConfigError(f"The reference rank is {self.r_ref}, expected at least 1.")
        if not self.cost:
            raise ConfigError("No module to adapt was named.")
        object.__setattr__(self, "cost", MappingProxyType(dict(self.cost)))

    @classmethod
    def of(cls, model: nn.Module, module_names: Iterable[str], r_ref: int) -> Budget:
        """Read the costs from a model's linears; works on the meta device.

        Args:
            model: the base model, with or without LoRA injected.
            module_names: fully qualified names of `nn.Linear` modules.
            r_ref: rank of the uniform LoRA that sets the total.

        Raises:
            ConfigError: a name is not a linear of the model, or r_ref is below 1.
        """
        linears = adapted_linears(model)
        cost: dict[str, int] = {}
        for name in module_names:
            if name not in linears:
                raise ConfigError(
                    f"`{name}` is not a linear module of the model.", nearest(name, linears)
                )
            cost[name] = linears[name].in_features + linears[name].out_features
        return cls(cost, r_ref)

    @property
    def reference(self) -> int:
        """Parameters of the uniform LoRA of rank `r_ref` on all modules."""
        return self.r_ref * sum(self.cost.values())

    def cost_of(self, rank_map: Mapping[str, int]) -> int:
        """Return the LoRA parameters of a rank map.

        Raises:
            BudgetError: the map names a module outside the budget.
        """
        for name in rank_map:
            if name not in self.cost:
                raise BudgetError(
                    f"The rank map names `{name}`, which is not in the budget.",
                    nearest(name, self.cost),
                )
        return sum(rank * self.cost[name] for name, rank in rank_map.items())

    def check(self, rank_map: Mapping[str, int]) -> int:
        """Return the map's cost if it is within the reference.

        Raises:
            BudgetError: says by how many parameters and per cent it is not.
        """
        used = self.cost_of(rank_map)
        self._compare(used, "The rank map costs")
        return used

    def check_live(self, model: nn.Module) -> int:
        """Count the LoRA tensors that really are in the model and compare with the reference.

        Returns:
            The number of live LoRA parameters.

        Raises:
            BudgetError: too many parameters, a LoRA outside the budget, or tensors whose shapes
                do not belong to a LoRA of one rank.
        """
        used = 0
        for name, (a, b) in lora_tensors(model).items():
            if name not in self.cost:
                raise BudgetError(f"`{name}` carries a LoRA but is not in the budget.")
            live = a.numel() + b.numel()
            if a.shape[0] != b.shape[1] or live != a.shape[0] * self.cost[name]:
                raise BudgetError(
                    f"The LoRA of `{name}` has shapes {tuple(a.shape)} and {tuple(b.shape)}, "
                    f"which cost {live:,} parameters and fit no rank at {self.cost[name]:,} each."
                )
            used += live
        self._compare(used, "The model's LoRA tensors have")
        return used

    def rank_map(self, ranks: Mapping[str, int]) -> RankMap:
        """Return `ranks` as a checked `RankMap` in the budget's order."""
        self.check(ranks)
        return RankMap({name: ranks[name] for name in self.cost if name in ranks})

    def _compare(self, used: int, what: str) -> None:
        over = used - self.reference
        if over > 0:
            raise BudgetError(
                f"{what} {used:,} parameters; uniform LoRA of rank {self.r_ref} has "
                f"{self.reference:,}: {over:,} too many (+{100 * over / self.reference:.1f}%).",
                "Lower some ranks. Keeping the sum of ranks is not enough: a rank costs "
                "inputs + outputs of its module.",
            )
