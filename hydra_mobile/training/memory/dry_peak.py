"""The peak memory of training, measured before the first step: the largest batch goes first.

The forward and backward pass of the largest micro-batch run twice and nothing is updated. What the
estimate of `memory/estimate.py` cannot see is in the result: buffers inside kernels, and the holes
of a heap that keeps freed memory. A run that does not fit fails here and not hours later. Called
before a stage, and by experiments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from hydra_mobile.training.machine import peak_memory_bytes
from hydra_mobile.training.memory.estimate import training_mode

# The second pass finds the heap as the first has left it.
_PASSES = 2


def dry_peak(
    model: nn.Module,
    trained: Iterable[nn.Parameter],
    make_inputs: Callable[[], dict[str, Any]],
    *,
    autocast_dtype: torch.dtype | None,
    device: torch.device,
    accumulation: int = 1,
    copies: int = 0,
) -> int:
    """Return the peak in bytes that training on batches as large as one will reach.

    Weights, gradients, modes and random state are as before afterwards. Arguments as for
    `estimate`; call it before the optimizer's first step, since AdamW's moments and `copies`
    are added to what was measured.
    """
    trained = list(trained)
    autocast = torch.autocast(
        device.type, dtype=autocast_dtype or torch.bfloat16, enabled=autocast_dtype is not None
    )
    devices = [device] if device.type == "cuda" else []
    with training_mode(model), torch.random.fork_rng(devices=devices):
        for _ in range(_PASSES):
            inputs = make_inputs()
            with autocast:
                loss = model(**inputs).loss
            loss.backward()
            del loss, inputs
            if accumulation == 1:
                _drop_gradients(trained)
    _drop_gradients(trained)
    moments = sum(2 * 4 * parameter.numel() for parameter in trained)
    return peak_memory_bytes(device) + moments + copies


def _drop_gradients(trained: Iterable[nn.Parameter]) -> None:
    for parameter in trained:
        parameter.grad = None
