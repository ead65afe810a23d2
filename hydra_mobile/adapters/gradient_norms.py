"""The norm of dL/dW of frozen linears, seen as a backward pass goes by.

dL/dW is the product grad_out^T x, formed on the way back through a linear and freed at once, so no
weight needs `requires_grad` and no optimizer state exists.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hydra_mobile.core.errors import ConfigError


class GradientNorms:
    """Turns (input, gradient of the output) of a linear into the norm of dL/dW."""

    def __init__(self, keep_sums: bool) -> None:
        self.keep_sums = keep_sums
        self.sums: dict[str, Tensor] = {}
        self._norms: dict[str, Tensor] = {}
        self._partial: dict[str, Tensor] = {}
        self._calls: Counter[str] = Counter()

    @contextmanager
    def attached(self, model: nn.Module, names: list[str]) -> Iterator[None]:
        """Look on inside the block."""
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
        self.forget()
        return norms

    def forget(self) -> None:
        """Drop what a batch left."""
        self._norms.clear()
        self._partial.clear()
        self._calls.clear()

    def add(self, name: str, grad: Tensor, x: Tensor) -> None:
        """Add one call's part of dL/dW: grad [..., out], x [..., in]."""
        rows = grad.reshape(-1, grad.shape[-1])
        columns = x.reshape(-1, x.shape[-1])
        if rows.dtype != columns.dtype:
            columns = columns.to(rows.dtype)
        # One product in the precision of training; its norm is taken in fp32.
        product = rows.T @ columns
        earlier = self._partial.pop(name, None)
        if earlier is not None:
            product = earlier.add_(product)
        self._calls[name] -= 1
        if self._calls[name] == 0:
            self._keep(name, product)
        else:
            # A module called several times has the norm of its summed gradient.
            self._partial[name] = product.float()

    def _forward_hook(self, name: str) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not output.requires_grad:
                return None
            # A recomputation (gradient checkpointing) happens inside a backward pass and is
            # never itself gone back through.
            if torch._C._current_graph_task_id() == -1:
                self._calls[name] += 1
            tapped: Tensor = _Tap.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
                output, args[0].detach(), self, name
            )
            return tapped

        return hook

    def _finish(self, name: str) -> None:
        self._keep(name, self._partial.pop(name))

    def _keep(self, name: str, gradient: Tensor) -> None:
        self._norms[name] = torch.linalg.vector_norm(gradient, dtype=torch.float32)
        if self.keep_sums:
            if name in self.sums:
                self.sums[name].add_(gradient)
            else:
                self.sums[name] = gradient.float()


class _Tap(torch.autograd.Function):
    """Passes a linear's output on, and its gradient back, past a `GradientNorms`.

    The input is saved through autograd: without gradient checkpointing it is mostly a tensor that
    is saved anyway, with it the input is recomputed and freed like all others.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, x: Tensor, norms: GradientNorms, name: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.norms, ctx.name = norms, name
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        ctx.norms.add(ctx.name, grads[0].detach(), ctx.saved_tensors[0])
        return grads[0], None, None, None


def _require_input_gradient(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Let the graph start here: all weights are frozen, so the first linear's input has none."""
    x = args[0]
    if torch.is_grad_enabled() and not x.requires_grad:
        return (x.detach().requires_grad_(), *args[1:])
    return None
