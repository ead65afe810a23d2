"""How much the loss wants to move each frozen linear: the norm of dL/dW, without storing dL/dW.

At LoRA's start B = 0, so the gradient of A is exactly zero and tells nothing; the gradient of the
frozen weight W does. It is the product grad_out^T x, formed in a hook and freed at once, so no
weight needs `requires_grad` and no optimiser state exists. Knows linears and LoRA layers; knows
nothing of what a batch is. Called by the trainer before injection (or after it).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hydra_mobile.adapters.lora_layers import adapted_linears
from hydra_mobile.errors import ConfigError
from hydra_mobile.registry import nearest

_GIB = 2**30


@dataclass(frozen=True)
class Importance:
    """Two statistics of the same gradients, by module name.

    Attributes:
        mean_of_norms: mean over micro-batches of the Frobenius norm of dL/dW (the default score).
        norm_of_mean: Frobenius norm of the mean gradient; None when it was not affordable.
        batches: number of micro-batches.
    """

    mean_of_norms: dict[str, float]
    norm_of_mean: dict[str, float] | None
    batches: int


def measure(
    model: nn.Module,
    module_names: Iterable[str],
    batches: Iterable[Any],
    loss_fn: Callable[[nn.Module, Any], Tensor],
    *,
    mean_gradient_bytes: int = _GIB,
) -> Importance:
    """Measure the gradient norm of frozen linears over micro-batches.

    The model runs in eval mode (no dropout; the mode is restored), no parameter's `.grad` is
    touched, and the global random stream is whatever `loss_fn` makes of it.

    Args:
        model: the model; its weights may all be frozen.
        module_names: fully qualified names of linears.
        batches: micro-batches, handed to `loss_fn` one by one.
        loss_fn: returns the scalar loss of a batch; it must not disable gradients.
        mean_gradient_bytes: the mean gradient needs one fp32 copy of the measured weights; it is
            skipped when that copy is larger than this.

    Raises:
        ConfigError: a name is no linear, a batch does not reach a module, there is no batch, or a
            loss or gradient is not finite.
    """
    names = list(module_names)
    linears = adapted_linears(model)
    for name in names:
        if name not in linears:
            raise ConfigError(f"`{name}` is no linear module of the model.", nearest(name, linears))
    needed = sum(4 * linears[name].weight.numel() for name in names)
    probe = _Probe(keep_sums=needed <= mean_gradient_bytes)
    totals = dict.fromkeys(names, 0.0)
    count = 0
    with _frozen_eval(model), probe.attached(model, names):
        for batch in batches:
            loss = loss_fn(model, batch)
            if not bool(torch.isfinite(loss)):
                raise ConfigError(f"The loss of calibration batch {count} is {loss.item()}.")
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            for name, norm in probe.take_norms(names, count).items():
                totals[name] += norm
            count += 1
    if not count:
        raise ConfigError("There is no calibration batch to measure importance on.")
    return Importance(
        {name: total / count for name, total in totals.items()},
        {n: float(s.norm()) / count for n, s in probe.sums.items()} if probe.keep_sums else None,
        count,
    )


class _Probe:
    """Hooks that turn (input, gradient of the output) of a linear into the norm of dL/dW."""

    def __init__(self, keep_sums: bool) -> None:
        self.keep_sums = keep_sums
        self.sums: dict[str, Tensor] = {}
        self._norms: dict[str, Tensor] = {}
        self._partial: dict[str, Tensor] = {}
        self._pending: Counter[str] = Counter()

    @contextmanager
    def attached(self, model: nn.Module, names: list[str]) -> Iterator[None]:
        handles = []
        try:
            for name in names:
                module = model.get_submodule(name)
                handles.append(module.register_forward_pre_hook(_require_input_gradient))
                handles.append(module.register_forward_hook(self._forward_hook(name)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def take_norms(self, names: list[str], batch: int) -> dict[str, float]:
        """Return and clear the norms of the batch that just ran backward."""
        for name in list(self._partial):
            self._finish(name)
        missing = [name for name in names if name not in self._norms]
        if missing:
            raise ConfigError(
                f"Calibration batch {batch} sends no gradient through `{missing[0]}` "
                f"({len(missing)} modules in all).",
                "Adapt only modules that the loss depends on.",
            )
        norms = dict(zip(names, torch.stack([self._norms[n] for n in names]).tolist(), strict=True))
        for name, norm in norms.items():
            if not math.isfinite(norm):
                raise ConfigError(
                    f"The gradient of `{name}` is not finite in calibration batch {batch}.",
                    "Measure in fp32, or remove the sample.",
                )
        self._norms.clear()
        self._pending.clear()
        return norms

    def _forward_hook(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            if not output.requires_grad:
                return
            x = args[0].detach()
            self._pending[name] += 1
            output.register_hook(  # type: ignore[no-untyped-call]  # torch leaves it untyped
                lambda grad: self._add(name, grad.detach(), x)
            )

        return hook

    def _add(self, name: str, grad: Tensor, x: Tensor) -> None:
        rows = grad.reshape(-1, grad.shape[-1]).float()
        product = rows.T @ x.reshape(-1, x.shape[-1]).float()
        earlier = self._partial.pop(name, None)
        self._partial[name] = product if earlier is None else earlier.add_(product)
        self._pending[name] -= 1
        if self._pending[name] == 0:
            # A module called several times has the norm of its summed gradient.
            self._finish(name)

    def _finish(self, name: str) -> None:
        gradient = self._partial.pop(name)
        self._norms[name] = torch.linalg.vector_norm(gradient)
        if self.keep_sums:
            if name in self.sums:
                self.sums[name].add_(gradient)
            else:
                self.sums[name] = gradient


def _require_input_gradient(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Let the graph start here: all weights are frozen, so the first linear's input has none."""
    x = args[0]
    if torch.is_grad_enabled() and not x.requires_grad:
        return (x.detach().requires_grad_(), *args[1:])
    return None


@contextmanager
def _frozen_eval(model: nn.Module) -> Iterator[None]:
    """Eval mode and no trainable parameter inside the block, both restored afterwards."""
    modes = {module: module.training for module in model.modules()}
    trainable = [p for p in model.parameters() if p.requires_grad]
    try:
        model.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, training in modes.items():
            module.training = training
