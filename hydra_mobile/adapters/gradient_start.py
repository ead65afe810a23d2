"""A start of LoRA that looks where the loss wants to go: A spans the largest gradient directions.

With B = 0 the first gradient of B is s G A^T, G = dL/dW of the frozen weight. Among all A with
orthogonal rows of one length, ||G A^T|| is largest where the rows are G's first right singular
vectors (Eckart-Young); the random start catches about r / in of ||G||^2. LoRA-GA (arXiv
2407.05000) starts A and B from the gradient and takes B A out of the base again; here B stays zero,
so that the base is untouched and the adapter stays plain peft LoRA. Rows keep the length that the
random start gives them on average.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hydra_mobile.adapters.compensation import Compensate, size_at
from hydra_mobile.adapters.lora import initial_a
from hydra_mobile.adapters.lora_layers import lora_tensors

# Directions beyond the rank in the randomized range finder, and its power iterations: with a
# spectrum as flat as a gradient's, fewer of either lose a visible part of the norm.
_OVERSAMPLING, _ITERATIONS = 8, 4


def leading_directions(gradient: Tensor, count: int) -> Tensor:
    """Return the first right singular vectors of a gradient [out, in] as rows [k, in].

    k is `count`, or less where the matrix is smaller. Exact for small matrices; otherwise by a
    randomized range finder (arXiv 0909.4061) from a generator of its own.
    """
    matrix = gradient.float()
    smallest = min(matrix.shape)
    width = count + _OVERSAMPLING
    if 4 * width >= smallest:
        exact: Tensor = torch.linalg.svd(matrix, full_matrices=False).Vh
        return exact[:count]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(matrix.shape[0], width, generator=generator).to(matrix.device)
    basis = torch.linalg.qr(matrix.T @ drawn).Q
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(matrix.T @ (matrix @ basis)).Q
    _, _, vh = torch.linalg.svd(matrix @ basis, full_matrices=False)
    found: Tensor = vh @ basis.T
    return found[:count]


@torch.no_grad()
def align(
    model: nn.Module,
    gradients: Mapping[str, Tensor],
    seed: int,
    *,
    r_ref: int = 1,
    compensate: Compensate = "neither",
) -> float:
    """Turn the rows of every A, in place, to the leading directions of its module's gradient.

    Rows that a gradient has no direction for (its rank is lower, or it is zero) stay random.

    Args:
        model: carries LoRA whose B is zero.
        gradients: mean dL/dW [out, in] of every adapted module, by name.
        seed: the run's seed, for the rows that stay random.
        r_ref: the reference rank, where something is compensated.
        compensate: what of a module falls as r_ref / rank.

    Returns:
        The share of the gradients' squared norm that A now catches, over all modules.
    """
    caught, whole = 0.0, 0.0
    for name, (a, _) in lora_tensors(model).items():
        gradient = gradients[name].to(a.device, torch.float32)
        rank, width = a.shape
        value = initial_a(name, rank, width, seed).to(a)
        total = float(gradient.square().sum())
        if total > 0:
            rows = leading_directions(gradient, rank)
            # A random row's entries are uniform in +-1/sqrt(in): its squared length is 1/3.
            value[: len(rows)] = rows / math.sqrt(3.0)
            caught += float((gradient @ rows.T).square().sum())
            whole += total
        a.copy_(size_at(rank, r_ref, compensate) * value)
    return caught / whole if whole else 0.0
