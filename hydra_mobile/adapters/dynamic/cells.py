"""Cells: the (group of layers, projection) pairs that sum a rank map up in few numbers.

A model of the effect of ranks that sees a dozen observations cannot tell 224 ranks apart; it sees
the mean rank of at most 3 x 7 = 21 cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from hydra_mobile.adapters.allocate_layers import by_layer, layer_groups, layer_of, layer_scores
from hydra_mobile.core.errors import ConfigError

GROUPS = ("low", "middle", "high")

Cell = tuple[int, str]
"""Group of the layer (0 low, 1 middle, 2 high) and the last part of the module's name."""


def label(cell: Cell) -> str:
    """Return a cell's name for people: `(2, "q_proj")` -> `high/q_proj`."""
    return f"{GROUPS[cell[0]]}/{cell[1]}"


def groups_of(names: Sequence[str], scores: Mapping[str, float] | None = None) -> dict[str, int]:
    """Return the group 0, 1 or 2 of every layer that `names` touch.

    Args:
        names: fully qualified module names, in the order of the layers.
        scores: importance of every module of `names`; the groups are then those of the coarse
            stage. Without it they are the thirds of the depth: "low" is next to the input.

    Raises:
        ConfigError: a score is missing, not finite or negative.
    """
    layers = list(by_layer(names))
    if scores is None:
        return {layer: index * len(GROUPS) // len(layers) for index, layer in enumerate(layers)}
    for name in names:
        if name not in scores:
            raise ConfigError(f"The importance of `{name}` is missing.")
    return layer_groups(layer_scores({name: scores[name] for name in names}))


@dataclass(frozen=True)
class Cells:
    """Which module belongs to which cell.

    Attributes:
        cell_of: `{module name: cell}`, in the order given.
        cells: the cells that have modules, by group, then in the order of first mention.
    """

    cell_of: Mapping[str, Cell]
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, names: Sequence[str], layer_group: Mapping[str, int]) -> Cells:
        """Sort modules into cells.

        Args:
            names: fully qualified module names.
            layer_group: `{layer as layer_of() names it: 0, 1 or 2}`, as `groups_of` returns it.

        Raises:
            ConfigError: a module's layer has no group, or a group is none of 0, 1, 2.
        """
        cell_of: dict[str, Cell] = {}
        for name in names:
            group = layer_group.get(layer_of(name), -1)
            if group not in range(len(GROUPS)):
                raise ConfigError(
                    f"Layer `{layer_of(name)}` has group {group}, expected 0, 1 or 2."
                )
            cell_of[name] = (group, name.rpartition(".")[2])
        # sorted() is stable: within a group the order of first mention stays.
        cells = tuple(sorted(dict.fromkeys(cell_of.values()), key=lambda cell: cell[0]))
        return cls(MappingProxyType(cell_of), cells)

    def members(self) -> dict[Cell, list[str]]:
        """Return every cell's modules, in the order given."""
        members: dict[Cell, list[str]] = {cell: [] for cell in self.cells}
        for name, cell in self.cell_of.items():
            members[cell].append(name)
        return members

    def labels(self) -> tuple[str, ...]:
        """Return the cells' names for people, in the order of `features`."""
        return tuple(label(cell) for cell in self.cells)

    @staticmethod
    def label(cell: Cell) -> str:
        """Return a cell's name for people, as `label` of this module."""
        return label(cell)

    def features(self, rank_map: Mapping[str, int], r_ref: int) -> tuple[float, ...]:
        """Return, per cell, the mean rank of its modules divided by `r_ref`.

        Args:
            rank_map: ranks; a module that is not in it has rank 0.
            r_ref: rank of the uniform LoRA, so that uniform ranks give 1 everywhere.
        """
        return tuple(
            sum(rank_map.get(name, 0) for name in names) / (len(names) * r_ref)
            for names in self.members().values()
        )
