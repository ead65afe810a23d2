"""Rank maps by shape, not by measurement: where in the decoder the budget lies.

Controls beside the measured maps: if moving rank towards the projector or towards the head, to
attention or to the MLP, changes nothing, a measured map has nothing to find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from experiments.quality.arms import Setting
from hydra_mobile.adapters.allocate import Grid, project
from hydra_mobile.adapters.allocate_layers import by_layer
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.estimation.model import empty_model
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.training.adapted_modules import adapted_modules

#: Shape -> the wish of a module: (depth from 0, next to the projector, to 1; name of its linear).
SHAPES: dict[str, Callable[[float, str], float]] = {
    # Four times as much at one end as at the other, as a coarse stage may differ.
    "early": lambda depth, linear: 4.0 ** (0.5 - depth),
    "late": lambda depth, linear: 4.0 ** (depth - 0.5),
    "mlp": lambda depth, linear: 2.0 if linear in _MLP else 0.5,
    "attention": lambda depth, linear: 0.5 if linear in _MLP else 2.0,
}
_MLP = ("gate_proj", "up_proj", "down_proj")


def shaped(shape: str, budget: Budget, grid: Grid) -> RankMap:
    """Return the map of a shape at the budget of uniform LoRA.

    Args:
        shape: of `SHAPES`.
        budget: the ledger, layer after layer.
        grid: the ranks that a module may have.
    """
    layers = by_layer(list(budget.cost))
    deepest = max(len(layers) - 1, 1)
    wishes = {
        name: budget.r_ref * SHAPES[shape](layer / deepest, name.rsplit(".", 1)[-1])
        for layer, names in enumerate(layers.values())
        for name in names
    }
    grids = dict.fromkeys(wishes, grid)
    return budget.rank_map(project(wishes, budget.cost, budget.reference, grids))


@cache
def _costs(base: Path) -> Mapping[str, int]:
    model = empty_model(MobileVLMConfig.from_pretrained(base))
    return Budget.of(model, adapted_modules(model), 1).cost


def write_maps(base: Path, setting: Setting, folder: Path) -> None:
    """Write `folder`/SHAPE.json for every shape.

    Args:
        base: folder of the model to adapt.
        setting: the budget and its grid.
        folder: made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    budget = Budget(_costs(base), setting.r_ref)
    grid = Grid(setting.rank_step, setting.r_min, 2 * setting.r_ref)
    for shape in SHAPES:
        shaped(shape, budget, grid).write(folder / f"{shape}.json")
