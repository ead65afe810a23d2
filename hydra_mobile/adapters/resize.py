"""Ranks that really change: LoRA tensors shrink and grow in a model that is being trained.

The function W x + s B A x changes only by what shrinking drops: new rows of A are random, new
columns of B are zero, and the scale s stays, or changes together with B (`compensation.py`).
Everything that shrinks does so before anything grows, so the parameter count is within the budget
at every instant. Optimizer state moves along by row (see `optimizer_state.py`).

Shrinking to k of r components:

- `index` keeps the k components with the largest ||b_i|| * ||a_i|| (columns of B, rows of A) and
  their moments as they are.
- `svd` keeps the best rank-k approximation of B A (Eckart-Young), from the SVD of the r x r core
  of QR(B) and QR(A^T). With B' = B T and A' = V A, gradients with respect to the new tensors are
  dA' = T^T dA and dB' = dB V^T, so first moments are rotated exactly and second moments by the
  squared matrices (components taken as independent).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.compensation import Compensate, scale_at, size_at
from hydra_mobile.adapters.lora import initial_a, live_rank_map
from hydra_mobile.adapters.lora_layers import ADAPTER, lora_layers
from hydra_mobile.adapters.optimizer_state import replace_parameter
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ConfigError

Shrink = Literal["index", "svd"]
# Below this share of the largest singular value a direction is noise of fp32, not content.
_NEGLIGIBLE = 1e-7


@dataclass(frozen=True)
class Resized:
    """What `resize` changed.

    Attributes:
        changed: `{module: (old rank, new rank)}`.
        lowest_parameters: live LoRA parameters between the shrink and the grow half.
    """

    changed: dict[str, tuple[int, int]] = field(default_factory=dict)
    lowest_parameters: int = 0


def resize(
    model: nn.Module,
    target: RankMap,
    budget: Budget,
    optimizers: Iterable[torch.optim.Optimizer] = (),
    *,
    seed: int = 0,
    event: int = 0,
    shrink: Shrink = "index",
    compensate: Compensate = "neither",
) -> Resized:
    """Bring the model's LoRA layers to the ranks of `target`, in place.

    Gradients of changed tensors are dropped: call it between `zero_grad` and the next backward.
    The global random stream is not touched: new rows come from (seed, module name, event).

    Args:
        model: carries LoRA from `inject`.
        target: the ranks afterwards; the same modules as now.
        budget: the parameter budget; the live tensors are counted before, between and after.
        optimizers: those that may hold the LoRA tensors.
        seed: the run's seed.
        event: number of the event, for example the step; keeps new rows of two events apart.
        shrink: how components are dropped.
        compensate: what of a module falls as reference rank / rank; as it was injected.

    Raises:
        ConfigError: the target names other modules than the model carries.
        BudgetError: the target costs too much; nothing was changed.
    """
    budget.check(target)
    budget.check_live(model)
    now = live_rank_map(model)
    if set(now) != set(target):
        differing = sorted(set(now) ^ set(target))
        raise ConfigError(
            f"The ranks to change to are not those of the adapted modules: {differing[:3]} differ.",
            "A module cannot appear or vanish in training; keep r_min at 1 or more.",
        )
    optimizers = list(optimizers)
    changed = {name: (now[name], target[name]) for name in now if now[name] != target[name]}
    layers = lora_layers(model)
    for name, (old, new) in changed.items():
        if new < old:
            _shrink(layers[name], new, shrink, optimizers)
    lowest = budget.check_live(model)
    for name, (old, new) in changed.items():
        layer = layers[name]
        missing = target[name] - layer.lora_A[ADAPTER].weight.shape[0]
        # Also after an SVD that found fewer directions than the target has ranks.
        if missing > 0:
            fresh = _fresh_rows(layer, name, missing, seed, event)
            _grow(layer, size_at(old, budget.r_ref, compensate) * fresh, optimizers)
        _rescale(layer, old, new, budget.r_ref, compensate, optimizers)
        layer.r[ADAPTER] = target[name]
    budget.check_live(model)
    return Resized(changed, lowest)


def _fresh_rows(layer: Any, name: str, rows: int, seed: int, event: int) -> Tensor:
    a = layer.lora_A[ADAPTER].weight
    # The rank so far is in the key: a module that grows twice in one event must not get the same
    # rows twice, which would then learn the same for ever.
    key = hashlib.sha256(f"{seed}:grow:{event}:{a.shape[0]}".encode()).digest()
    return initial_a(name, rows, a.shape[1], int.from_bytes(key[:6], "big")).to(a)


def _grow(layer: Any, fresh: Tensor, optimizers: list[torch.optim.Optimizer]) -> None:
    """Append rows `fresh` (new, in) to A and as many zero columns to B."""
    rows = fresh.shape[0]
    a, b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
    zeros = b.weight.new_zeros(b.weight.shape[0], rows)
    _put(a, torch.cat([a.weight.detach(), fresh]), optimizers, _GrownRows(rows, 0))
    _put(b, torch.cat([b.weight.detach(), zeros], 1), optimizers, _GrownRows(rows, 1))


def _rescale(
    layer: Any,
    old: int,
    new: int,
    r_ref: int,
    compensate: Compensate,
    optimizers: list[torch.optim.Optimizer],
) -> None:
    """Give a layer whose rank became `new` the scale and size of that rank; s B A stays."""
    was, now = (scale_at(rank, r_ref, 1.0, compensate) for rank in (old, new))
    of_a = size_at(new, r_ref, compensate) / size_at(old, r_ref, compensate)
    of_b = was / (now * of_a)
    for side, factor in ((layer.lora_A, of_a), (layer.lora_B, of_b)):
        if factor != 1:
            linear = side[ADAPTER]
            _put(linear, linear.weight.detach() * factor, optimizers, _Scaled(factor))
    layer.scaling[ADAPTER] *= now / was


def _shrink(layer: Any, rank: int, how: Shrink, optimizers: list[torch.optim.Optimizer]) -> None:
    a, b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
    if how == "index":
        kept = kept_components(a.weight.detach(), b.weight.detach(), rank)
        _put(a, a.weight.detach()[kept], optimizers, _Kept(kept, 0))
        _put(b, b.weight.detach()[:, kept], optimizers, _Kept(kept, 1))
        return
    of_a, of_b = svd_transforms(a.weight.detach(), b.weight.detach(), rank)
    new_a = (of_a @ a.weight.detach().double()).to(a.weight)
    new_b = (b.weight.detach().double() @ of_b).to(b.weight)
    _put(a, new_a, optimizers, _Mixed(of_b.T))
    _put(b, new_b, optimizers, _Mixed(of_a.T, right=True))


def kept_components(a: Tensor, b: Tensor, rank: int) -> Tensor:
    """Return the indices, rising, of the `rank` components with the largest ||b_i|| * ||a_i||.

    Args:
        a: A, shape (r, in).
        b: B, shape (out, r).
        rank: how many to keep; of equals the earlier ones.
    """
    weight = torch.linalg.vector_norm(a.float(), dim=1) * torch.linalg.vector_norm(b.float(), dim=0)
    order = torch.argsort(weight, descending=True, stable=True)
    return order[:rank].sort().values


def svd_transforms(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return V (k, r) and T (r, k) in float64 such that B T V A is the best rank-k part of B A.

    B A = Qb (Rb Ra^T) Qa^T; with U S W^T the SVD of the core, V A = sqrt(S) W^T Qa^T and
    B T = Qb U sqrt(S). k is `rank`, or less where B A has fewer directions.
    """
    a, b = a.double(), b.double()
    rb = torch.linalg.qr(b).R
    ra = torch.linalg.qr(a.T).R
    u, s, wt = torch.linalg.svd(rb @ ra.T)
    k = min(rank, int((s > _NEGLIGIBLE * s[0]).sum())) if s[0] > 0 else 0
    root = s[:k].sqrt()
    of_a = torch.linalg.pinv(ra.T, rtol=_NEGLIGIBLE).T @ wt[:k].T * root
    of_b = torch.linalg.pinv(rb, rtol=_NEGLIGIBLE) @ u[:, :k] * root
    return of_a.T, of_b


def _put(linear: Any, value: Tensor, optimizers: list[torch.optim.Optimizer], carry: Any) -> None:
    old: nn.Parameter = linear.weight
    new = nn.Parameter(value.contiguous(), requires_grad=old.requires_grad)
    linear.weight = new
    # peft and its readers look at these, not at the tensor.
    linear.out_features, linear.in_features = new.shape
    replace_parameter(optimizers, old, new, carry)


@dataclass(frozen=True)
class _GrownRows:
    """Moments of a tensor that got `rows` new slices along `dim`."""

    rows: int
    dim: int

    def first(self, moment: Tensor) -> Tensor:
        shape = list(moment.shape)
        shape[self.dim] = self.rows
        return torch.cat([moment, moment.new_zeros(shape)], self.dim)

    def second(self, moment: Tensor) -> Tensor:
        mean = moment.mean(self.dim, keepdim=True)
        return torch.cat([moment, mean.repeat_interleave(self.rows, self.dim)], self.dim)


@dataclass(frozen=True)
class _Kept:
    """Moments of a tensor that keeps the slices `indices` along `dim`."""

    indices: Tensor
    dim: int

    def first(self, moment: Tensor) -> Tensor:
        return moment.index_select(self.dim, self.indices)

    def second(self, moment: Tensor) -> Tensor:
        return self.first(moment)


@dataclass(frozen=True)
class _Mixed:
    """Moments of a tensor whose gradient was multiplied by `matrix` from the left (or right)."""

    matrix: Tensor
    right: bool = False

    def first(self, moment: Tensor) -> Tensor:
        return self._times(moment, self.matrix)

    def second(self, moment: Tensor) -> Tensor:
        return self._times(moment, self.matrix.square())

    def _times(self, moment: Tensor, matrix: Tensor) -> Tensor:
        m = moment.double()
        return (m @ matrix if self.right else matrix @ m).to(moment)


@dataclass(frozen=True)
class _Scaled:
    """Moments of a tensor that is stored `factor` times as large: its gradient is as much less."""

    factor: float

    def first(self, moment: Tensor) -> Tensor:
        return moment / self.factor

    def second(self, moment: Tensor) -> Tensor:
        return moment / self.factor**2
