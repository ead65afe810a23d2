"""The 4-bit grid of every exporter: symmetric codes -8..7, one scale for each group of inputs.

A scale is a value that bfloat16 and float16 hold both, so that ExecuTorch and onnxruntime compute
with the same weights. It is the candidate with the least squared error. Export rounds to this grid
(`hydra_export.quantization`), and training can already see it (`qat.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

#: Inputs that share a scale, in the preset `int4`.
GROUP = 32
#: Least scale: the smallest normal float16. A group below it holds nothing that could matter.
_LEAST_SCALE = 2.0**-14
# Scales tried, as shares of the one that just covers the largest weight; 7 eighths lets it be -8.
_SHRINKS = tuple(1.0 - 0.025 * step for step in range(17))
#: Weights that are looked at together: what is made of them on the way stays in a core's cache.
_AT_ONCE = 2**16
#: Weights that are rounded together: what is made of them on the way is several times their size,
#: and a head or token table can be a tenth of a model.
_ROUNDED_AT_ONCE = 2**24


@dataclass(frozen=True)
class Int4Weight:
    """A weight at 4 bits: value = scale of the group * code.

    Attributes:
        pairs: the codes as `packed` returns them, uint8 [out, in / 2].
        scales: float32 [out, in / group]; each is a bfloat16 and a float16 value.
        error: what rounding changes of the output, relative to it (Frobenius norms over the
            calibration's inputs); None where no inputs were seen.
    """

    pairs: Tensor
    scales: Tensor
    error: float | None = None

    @classmethod
    def of(cls, codes: Tensor, scales: Tensor, error: float | None = None) -> Self:
        """Return the weight of codes int8 [out, in], -8..7."""
        return cls(packed(codes), scales, error)

    @property
    def codes(self) -> Tensor:
        """The codes one by one, int8 [out, in]."""
        return unpacked(self.pairs)

    @property
    def group(self) -> int:
        """Inputs that share a scale."""
        return 2 * self.pairs.shape[1] // self.scales.shape[1]

    def values(self) -> Tensor:
        """Return the weight float32 [out, in] that the codes stand for."""
        return self.codes.float() * self.scales.repeat_interleave(self.group, 1)

    def rows(self, start: int, count: int) -> Int4Weight:
        """Return the weight of `count` outputs from `start`."""
        return Int4Weight(self.pairs[start : start + count], self.scales[start : start + count])


def packed(codes: Tensor) -> Tensor:
    """Return codes int8 [out, in] as uint8 [out, in / 2]; the first of a pair has the low bits."""
    shifted = (codes + 8).to(torch.uint8)
    return shifted[:, ::2] | shifted[:, 1::2] << 4


def unpacked(pairs: Tensor) -> Tensor:
    """Return the codes int8 [out, in] behind what `packed` returned."""
    both = torch.stack([pairs & 15, pairs >> 4], -1).to(torch.int8)
    return both.flatten(1).sub_(8)


def storable(scale: Tensor) -> Tensor:
    """Return positive scales as both bfloat16 and float16 hold them."""
    return scale.clamp(min=_LEAST_SCALE, max=2.0**15).bfloat16().float()


def best_scales(blocks: Tensor, importance: Tensor | None = None) -> Tensor:
    """Return for blocks [..., group] the scale [...] of least squared rounding error.

    Args:
        blocks: float32 weights, one group along the last axis.
        importance: [group], weight of each input's error; None: all alike.
    """
    rows = max(1, _AT_ONCE // max(1, math.prod(blocks.shape[1:])))
    return torch.cat([_best_scales(part, importance) for part in torch.split(blocks, rows)])


def _best_scales(blocks: Tensor, importance: Tensor | None) -> Tensor:
    largest = blocks.abs().amax(-1) / 7
    best_error = torch.full_like(largest, float("inf"))
    best = storable(largest)
    for shrink in _SHRINKS:
        scale = storable(largest * shrink)
        error = (on_grid(blocks, scale[..., None]) * scale[..., None] - blocks).square_()
        total = (error if importance is None else error * importance).sum(-1)
        better = total < best_error
        best = torch.where(better, scale, best)
        best_error = torch.where(better, total, best_error)
    return best


def on_grid(values: Tensor, scale: Tensor) -> Tensor:
    """Return the nearest codes, as floats, of values under scales that broadcast to them."""
    return (values / scale).round_().clamp_(-8, 7)


def in_parts(weight: Tensor) -> tuple[Tensor, ...]:
    """Return a weight [out, in] as views of some rows each, few enough to be rounded together."""
    return torch.split(weight, max(1, _ROUNDED_AT_ONCE // weight.shape[1]))


def round_nearest(weight: Tensor, group: int) -> Int4Weight:
    """Round a weight [out, in] to the nearest codes under scales of least error.

    Args:
        weight: float; not changed.
        group: inputs that share a scale; it must divide the number of inputs.
    """
    pairs, scales = [], []
    for part in in_parts(weight):
        blocks = part.float().reshape(len(part), -1, group)
        scales.append(best_scales(blocks))
        codes = on_grid(blocks, scales[-1][..., None]).flatten(1)
        pairs.append(packed(codes.to(torch.int8)))
    return Int4Weight(torch.cat(pairs), torch.cat(scales))
