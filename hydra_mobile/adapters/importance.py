"""How much the loss wants to move each frozen linear: the norm of dL/dW, without storing dL/dW.

At LoRA's start B = 0, so the gradient of A is exactly zero and tells nothing; the gradient of the
frozen weight W does. It is the product grad_out^T x, formed on the way back through the linear and
freed at once, so no weight needs `requires_grad` and no optimizer state exists.

`BackwardImportance` looks on while a model trains and costs one more product per linear in the
backward passes that it watches; `measure` makes passes of its own where nothing trains yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from hydra_mobile.adapters.gradient_norms import GradientNorms
from hydra_mobile.adapters.lora_layers import (
    ADAPTER,
    adapted_linears,
    lora_layers,
    lora_tensors,
)
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.registry import nearest


@dataclass(frozen=True)
class Importance:
    """Norms of gradients by module name.

    Attributes:
        mean_of_norms: mean over micro-batches of the Frobenius norm of dL/dW.
        batches: number of micro-batches.
        profiles: mean of norms by kind of micro-batch, where kinds were distinguished;
            `mean_of_norms` is then their plain mean, so that a rare kind counts as much.
    """

    mean_of_norms: dict[str, float]
    batches: int
    profiles: dict[str, dict[str, float]] = field(default_factory=dict)

    def averaged(self, average: Callable[[Tensor], Tensor]) -> Importance:
        """Return the mean over processes that measured as many batches each.

        Args:
            average: averages a float64 tensor over all processes.
        """
        values = torch.tensor(list(self.mean_of_norms.values()), dtype=torch.float64)
        mean = dict(zip(self.mean_of_norms, average(values).tolist(), strict=True))
        return replace(self, mean_of_norms=mean)


def measure(
    model: nn.Module,
    module_names: Iterable[str],
    batches: Iterable[Any],
    loss_fn: Callable[[nn.Module, Any], Tensor],
    *,
    gradients: dict[str, Tensor] | None = None,
) -> Importance:
    """Measure the gradient norm of frozen linears over micro-batches.

    The model runs in eval mode (no dropout; the mode is restored), no parameter's `.grad` is
    touched, and the global random stream is whatever `loss_fn` makes of it.

    Args:
        model: the model; its weights may all be frozen.
        module_names: fully qualified names of linears.
        batches: micro-batches, handed to `loss_fn` one by one.
        loss_fn: returns the scalar loss of a batch; it must not disable gradients.
        gradients: filled with the mean gradient [out, in], fp32, of each module: a copy of the
            measured weights.

    Raises:
        ConfigError: a name is not a linear, a batch does not reach a module, there is no batch, or
            a loss or gradient is not finite.
    """
    names = list(module_names)
    linears = adapted_linears(model)
    for name in names:
        if name not in linears:
            raise ConfigError(
                f"`{name}` is not a linear module of the model.", nearest(name, linears)
            )
    probe = GradientNorms(keep_sums=gradients is not None)
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
    if gradients is not None:
        gradients.update({name: total / count for name, total in probe.sums.items()})
    return Importance({name: total / count for name, total in totals.items()}, count)


class BackwardImportance:
    """Importance from the ordinary backward passes of training, micro-batch by micro-batch."""

    def __init__(self, model: nn.Module, module_names: Iterable[str]) -> None:
        self._model = model
        self._names = list(module_names)
        self._totals: dict[str, list[float]] = {}
        self._counts: Counter[str] = Counter()
        self._open: ExitStack | None = None
        self._probe = GradientNorms(keep_sums=False)

    @property
    def batches(self) -> int:
        """Micro-batches seen."""
        return self._counts.total()

    def watch(self) -> None:
        """Begin to look on, if not yet."""
        if self._open is None:
            self._open = ExitStack()
            self._open.enter_context(self._probe.attached(self._model, self._names))

    def rest(self) -> None:
        """Stop looking on; what was seen stays."""
        if self._open is not None:
            self._open.close()
            self._open = None
            self._probe.forget()

    def take(self, kind: str, scale: float = 1.0) -> None:
        """Count the micro-batch whose backward pass just ended.

        Args:
            kind: what it is, for example "image" or "text".
            scale: factor from the differentiated loss to the micro-batch's own mean loss, for
                example the accumulation.
        """
        norms = self._probe.take_norms(self._names, self.batches)
        totals = self._totals.setdefault(kind, [0.0] * len(self._names))
        self._totals[kind] = [
            total + scale * norms[name] for total, name in zip(totals, self._names, strict=True)
        ]
        self._counts[kind] += 1

    def state(self) -> dict[str, Any]:
        """Return what was seen, as JSON values."""
        return {"totals": self._totals, "counts": dict(self._counts)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._totals = {kind: list(totals) for kind, totals in state["totals"].items()}
        self._counts = Counter(state["counts"])

    def result(self, average: Callable[[Tensor], Tensor] = lambda values: values) -> Importance:
        """Return the importance of what was seen.

        Args:
            average: averages a float64 tensor over all processes.

        Raises:
            ConfigError: nothing was seen.
        """
        kinds = sorted(self._totals)
        # Every process must bring the same numbers to `average`; one may have seen no text.
        table = torch.zeros(2, len(self._names) + 1, dtype=torch.float64)
        named = {"image": 0, "text": 1}
        if not set(kinds) <= set(named):
            raise ValueError(f"kinds of micro-batches are {kinds}, known are {list(named)}")
        for kind, row in named.items():
            if kind in self._totals:
                table[row] = torch.tensor([*self._totals[kind], float(self._counts[kind])])
        table = average(table)
        profiles = {
            kind: dict(zip(self._names, (table[row, :-1] / table[row, -1]).tolist(), strict=True))
            for kind, row in named.items()
            if table[row, -1] > 0
        }
        if not profiles:
            raise ConfigError("Importance was asked for before any backward pass was watched.")
        mean = {n: sum(p[n] for p in profiles.values()) / len(profiles) for n in self._names}
        return Importance(mean, self.batches, profiles)


@torch.no_grad()
def learned_update(model: nn.Module) -> Importance:
    """Return the norm of what each adapter has learned so far, ||s B A||, as its importance.

    Free, and after a warm-up at uniform ranks it looks at what the loss did want where `measure`
    looks at what it wants at one point. ||B A||^2 is the sum of (B^T B) * (A A^T), so no product
    of the weight's size is formed.

    Raises:
        ConfigError: nothing was learned: every B is zero.
    """
    layers = lora_layers(model)
    norms: dict[str, float] = {}
    for name, (a, b) in lora_tensors(model).items():
        squared = ((b.T @ b).double() * (a @ a.T).double()).sum().clamp(min=0)
        norms[name] = float(layers[name].scaling[ADAPTER] * squared.sqrt())
    if not any(norms.values()):
        raise ConfigError("The adapters have learned nothing yet, so no update has a norm.")
    return Importance(norms, 0)


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
