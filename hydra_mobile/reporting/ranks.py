"""A rank map as grids of layer by projection, one grid per stack of layers.

Reads only the shape of the names: the first whole number in a module name is its layer, what stands
before it is the stack, what follows is the projection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

# The order in which a transformer block computes; others follow in order of appearance.
_KNOWN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

STEPS = 4
"""Color steps on each side of the uniform rank."""


@dataclass(frozen=True)
class RankGrid:
    """The ranks of one stack: `cells[layer, projection]`, absent where no module is."""

    stack: str
    layers: tuple[str, ...]
    projections: tuple[str, ...]
    cells: dict[tuple[str, str], int]

    def of_projection(self, projection: str) -> list[int]:
        """Return the ranks of a projection over the layers."""
        keys = ((layer, projection) for layer in self.layers)
        return [self.cells[key] for key in keys if key in self.cells]

    def mean_of_layer(self, layer: str) -> float:
        """Return the mean rank of a layer."""
        ranks = [rank for (at, _), rank in self.cells.items() if at == layer]
        return sum(ranks) / len(ranks) if ranks else 0.0


def grids(rank_map: Mapping[str, int]) -> tuple[RankGrid, ...]:
    """Arrange a rank map, in order of appearance."""
    found: dict[str, dict[tuple[str, str], int]] = {}
    for name, rank in rank_map.items():
        stack, layer, projection = _place(name)
        found.setdefault(stack, {})[layer, projection] = rank
    return tuple(_grid(stack, cells) for stack, cells in found.items())


def _place(name: str) -> tuple[str, str, str]:
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    if at is None or at + 1 == len(parts):
        return "other modules", ".".join(parts[:-1]) or "top", parts[-1]
    # `self_attn.q_proj` is called `q_proj`; the long name is kept where the last part is unclear.
    rest = parts[at + 1 :]
    return ".".join(parts[:at]), parts[at], rest[-1] if rest[-1] in _KNOWN else ".".join(rest)


def _grid(stack: str, cells: dict[tuple[str, str], int]) -> RankGrid:
    layers = list(dict.fromkeys(layer for layer, _ in cells))
    if all(layer.isdigit() for layer in layers):
        layers.sort(key=int)
    seen = dict.fromkeys(projection for _, projection in cells)
    ordered = [p for p in _KNOWN if p in seen] + [p for p in seen if p not in _KNOWN]
    return RankGrid(stack, tuple(layers), tuple(ordered), cells)


def step_of(rank: int, r_ref: int) -> int | None:
    """Return the color step of a rank: 0 at `r_ref`, ± `STEPS` at four times and a quarter of it.

    Half a doubling is one step; a rank other than `r_ref` is never step 0. None for rank 0.
    """
    if rank <= 0:
        return None
    distance = 2 * math.log2(rank / r_ref)
    step = round(distance)
    if step == 0 and rank != r_ref:
        step = 1 if rank > r_ref else -1
    return max(-STEPS, min(STEPS, step))


def sparkline(ranks: list[int]) -> str:
    """Return ranks as a line of block characters, "·" for rank 0."""
    blocks = "▁▂▃▄▅▆▇█"
    top = max(ranks, default=0)
    return "".join(
        "·" if rank <= 0 else blocks[min(7, math.ceil(8 * rank / top) - 1)] for rank in ranks
    )
