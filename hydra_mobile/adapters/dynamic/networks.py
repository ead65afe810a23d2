"""The networks of the performance model: utilities of rank maps, many small ones side by side.

A network is a utility u(ranks, progress); the predicted gain of a move is
u(after, progress) - u(before, progress) + b. So what time alone does to the loss cancels, and no
map can win by being late.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hydra_mobile.adapters.dynamic.data import Floats, Scale

HIDDEN = 32
SEEDS = 5
EPOCHS = 200
LEARNING_RATE = 1e-2
DOUBT = 2.0
"""Standard deviations of the gains per typical change beyond the ranks seen."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, so that results do not depend on the number of cores.

    Matrices of 32 x 32 are too small for more: on a busy machine threads wait ten times as long
    for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Networks:
    """The networks that left nothing out, one per seed."""

    scale: Scale
    weights: list[Tensor]
    unit: float
    level: float
    lowest: Floats
    highest: Floats

    def doubt(self, afters: Sequence[Sequence[float]]) -> Floats:
        """Return the spread that extrapolation adds, one per map.

        What a cell is worth at ranks that nobody tried there, the networks cannot know, and they
        give the same answer all the same: their variance does not show it.
        """
        ranks = np.array(afters, dtype=np.float64)
        beyond = np.maximum(self.lowest - ranks, 0.0) + np.maximum(ranks - self.highest, 0.0)
        doubt: Floats = DOUBT * self.unit * beyond.sum(axis=1) / self.scale.unit
        return doubt

    def gains(
        self, before: Sequence[float], afters: Sequence[Sequence[float]], progress: float
    ) -> Floats:
        """Return predicted gains, of shape (seeds, maps)."""
        rows = self.scale.rows([before, *afters], [progress] * (len(afters) + 1))
        with torch.no_grad(), one_thread():
            found = utility(self.weights, rows)
            change = found[:, 1:] - found[:, :1] + self.weights[-1]
        predicted: Floats = change.double().numpy() * self.unit + self.level
        return predicted


def train(rows: Tensor, change: Tensor, targets: Tensor, share: Tensor, seed: int) -> list[Tensor]:
    """Train folds x seeds networks side by side, by Adam on all observations at once.

    The gradient is written out and the optimizer is our own: torch's first optimizer of a process
    imports a compiler, which takes longer than a whole run's fits. Adam works element by element,
    so networks that share it do not touch each other.

    Args:
        rows: inputs, (maps, inputs).
        change: (maps, observations), see above.
        targets: (folds, observations).
        share: weight of each observation in each fold's loss, 0 for those left out.
        seed: of the first weights, which are the same in all folds.

    Returns:
        Weights with a leading dimension of folds x seeds, the seeds of one fold together.
    """
    share = share.repeat_interleave(SEEDS, dim=0)
    targets = targets.repeat_interleave(SEEDS, dim=0)
    first = first_weights(rows.shape[1], len(share) // SEEDS, seed)
    sizes = [weight[0].numel() for weight in first]
    flat = torch.cat([weight.flatten(1) for weight in first], dim=1)
    parts = torch.split(flat, sizes, 1)
    weights = [part.view_as(weight) for part, weight in zip(parts, first, strict=True)]
    mean, square = torch.zeros_like(flat), torch.zeros_like(flat)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for epoch in range(1, EPOCHS + 1):
            parts_of = gradients(weights, rows, change, targets, share)
            gradient = torch.cat([g.flatten(1) for g in parts_of], dim=1)
            mean.lerp_(gradient, 0.1)
            square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            size = (square / (1.0 - 0.999**epoch)).sqrt_().add_(1e-8)
            flat.addcdiv_(mean, size, value=-LEARNING_RATE / (1.0 - 0.9**epoch))
    return weights


def gradients(
    weights: Sequence[Tensor], rows: Tensor, change: Tensor, targets: Tensor, share: Tensor
) -> list[Tensor]:
    """Return the gradient of sum(share (predicted - targets)^2) by every weight."""
    hidden = _hidden(weights, rows)
    predicted = torch.bmm(hidden[-1], weights[6]).squeeze(2) @ change + weights[7]
    slope = 2.0 * share * (predicted - targets)
    by_utility = (slope @ change.T).unsqueeze(2)
    gradients = [torch.bmm(hidden[-1].mT, by_utility), slope.sum(dim=1, keepdim=True)]
    by_hidden = by_utility * weights[6].mT
    for layer in (2, 1, 0):
        # The sign of a ReLU's output, 0 or 1, is its derivative.
        by_hidden = by_hidden * hidden[layer + 1].sign()
        by_weight = torch.bmm(hidden[layer].mT, by_hidden)
        gradients = [by_weight, by_hidden.sum(dim=1, keepdim=True), *gradients]
        if layer:
            by_hidden = torch.bmm(by_hidden, weights[2 * layer].mT)
    return gradients


def first_weights(inputs: int, folds: int, seed: int) -> list[Tensor]:
    """Draw weights and biases uniformly from +-1/sqrt(inputs); the scalar b starts at 0."""
    generator = torch.Generator("cpu").manual_seed(seed)
    weights = []
    sizes = [(inputs, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)]
    for fan_in, fan_out in sizes:
        bound = 1.0 / math.sqrt(fan_in)
        for height in (fan_in, 1):
            draw = torch.rand(SEEDS, height, fan_out, generator=generator) * 2.0 - 1.0
            weights.append((draw * bound).repeat(folds, 1, 1))
    # The last layer's bias cancels in the difference of utilities; b takes its place.
    weights[-1] = torch.zeros(SEEDS * folds, 1)
    return weights


def _hidden(weights: Sequence[Tensor], rows: Tensor) -> list[Tensor]:
    """Return the inputs and the three hidden layers, each (networks, maps, width)."""
    hidden = [rows.expand(len(weights[0]), -1, -1)]
    for weight, bias in zip(weights[0:6:2], weights[1:6:2], strict=True):
        hidden.append(torch.relu(torch.baddbmm(bias, hidden[-1], weight)))
    return hidden


def utility(weights: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Return every network's utility of every row, (networks, maps)."""
    return torch.bmm(_hidden(weights, rows)[-1], weights[6]).squeeze(2)
