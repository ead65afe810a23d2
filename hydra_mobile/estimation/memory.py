"""Memory of one GPU in a training step, at any micro-batch and setting.

A forward and a backward pass are simulated (`training.memory_estimate`) at a small and a large
micro-batch; sizes between lie on the straight line through both, which is never below the truth:
the peak is the largest of several sums that each grow linearly. What a 4-bit base, sharding and
several processes change is added by arithmetic. Nothing of it was measured on a GPU.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from hydra_mobile.config import TrainConfig
from hydra_mobile.estimation.model import (
    FrozenSizes,
    computes_in_bf16,
    frozen_sizes,
    set_checkpointing,
)
from hydra_mobile.models.templates import IGNORE_INDEX
from hydra_mobile.training.memory.estimate import estimate

# NF4 with blocks of 64, their scales in 8 bits, and an fp32 scale for 256 of those.
_FOUR_BIT = (4 + 8 / 64 + 32 / (64 * 256)) / 8
# cuBLAS keeps a workspace; 32 MiB on Hopper, less on older cards.
_LIBRARIES = 32 * 2**20
# FSDP gathers a layer while the one before computes.
_GATHERED_LAYERS = 2


@dataclass(frozen=True)
class Setting:
    """What decides the memory of a stage; the fields are those of the configuration."""

    batch_size: int
    accumulation: int
    gradient_checkpointing: bool
    base_precision: str = "full"
    distributed: str = "ddp"


@dataclass(frozen=True)
class StageMemory:
    """Bytes on one GPU at the peak of a stage; `total` is the sum of the others.

    Attributes:
        weights: parameters and buffers.
        gradients: of what trains, as far as they exist at the peak.
        moments: AdamW's two, fp32.
        activations: what the backward pass needs.
        transient: logits, temporaries, recomputed layers, the batch itself.
        averaging: a second copy of the gradients, for several processes.
        libraries: workspaces.
        copies: of weights that `stage2.qat` rounds, with their scales.
    """

    weights: int
    gradients: int
    moments: int
    activations: int
    transient: int
    averaging: int
    libraries: int = _LIBRARIES
    copies: int = 0

    @property
    def total(self) -> int:
        """Return the peak."""
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Rows:
    """The largest micro-batch, by row.

    Attributes:
        tokens: of the longest row; all rows are padded to it.
        image_tokens: among them, without loss.
        image_size: side of a picture in pixels.
        masked: whether conversations share rows, which takes a mask; else attention is causal.
        squares: that a picture is read as.
    """

    tokens: int
    image_tokens: int
    image_size: int
    masked: bool = False
    squares: int = 1

    def inputs(self, count: int, image_token_id: int) -> dict[str, Any]:
        """Return arguments for a model; views, so that they take no memory."""
        ids = torch.zeros(self.tokens, dtype=torch.long)
        ids[: self.image_tokens] = image_token_id
        labels = ids.clone()
        labels[: self.image_tokens] = IGNORE_INDEX
        mask = None
        if self.masked:
            mask = torch.ones(self.tokens, self.tokens, dtype=torch.bool).tril()
        return {
            "input_ids": ids.expand(count, -1),
            "labels": labels.expand(count, -1),
            "position_ids": torch.arange(self.tokens).expand(count, -1),
            "attention_mask": None if mask is None else mask.expand(count, 1, -1, -1),
            "pixel_values": torch.zeros(3, self.image_size, self.image_size).expand(
                *((count,) if self.squares == 1 else (count, self.squares)), -1, -1, -1
            ),
            "use_cache": False,
        }

    @property
    def input_bytes(self) -> int:
        """Return the bytes of one row's tensors on the GPU."""
        mask = self.tokens**2 if self.masked else 0
        return 3 * 8 * self.tokens + mask + 4 * 3 * self.squares * self.image_size**2


@dataclass(frozen=True)
class _Pass:
    """A simulated pass: bytes as in `MemoryEstimate`."""

    gradients: int
    activations: int
    transient: int


class StageSimulation:
    """The memory of one stage at any setting; simulates on demand, a few seconds each time."""

    def __init__(self, model: Any, train: TrainConfig, rows: Rows, copies: int = 0) -> None:
        self._model = model
        self._copies = copies
        self._rows = rows
        self._autocast = torch.bfloat16 if computes_in_bf16(train) else None
        self._trained = [p for p in model.parameters() if p.requires_grad]
        tensors = (*model.parameters(), *model.buffers())
        self._weights = sum(t.numel() * t.element_size() for t in tensors)
        self._frozen: FrozenSizes = frozen_sizes(model)
        self._done: dict[tuple[int, bool], _Pass] = {}

    def simulate(self, batch_size: int, checkpointing: bool) -> None:
        """Simulate a pass; `memory` is exact there and conservative in between."""
        if (batch_size, checkpointing) not in self._done:
            self._done[batch_size, checkpointing] = self._simulated(batch_size, checkpointing)

    def memory(self, setting: Setting, gpus: int) -> StageMemory:
        """Return the memory of one of `gpus` GPUs.

        Raises:
            KeyError: no passes were simulated at, or on both sides of, its micro-batch.
        """
        of_pass = self._between(setting.batch_size, setting.gradient_checkpointing)
        weights, extra = self._at_rest(setting, gpus)
        gradients = sum(p.numel() * p.element_size() for p in self._trained)
        batch = setting.batch_size * self._rows.input_bytes
        # The optimizer's step needs no more: it is fused, and at the end of a backward pass all
        # gradients are there already.
        return StageMemory(
            weights=weights,
            # Several micro-batches add up: the gradients lie beside the later ones.
            gradients=gradients if setting.accumulation > 1 else of_pass.gradients,
            moments=sum(2 * 4 * p.numel() for p in self._trained),
            activations=of_pass.activations,
            transient=of_pass.transient + extra + batch,
            averaging=gradients if gpus > 1 else 0,
            copies=self._copies,
        )

    def _at_rest(self, setting: Setting, gpus: int) -> tuple[int, int]:
        """Return the bytes of the weights, and what a pass adds because of the setting."""
        frozen, weights = self._frozen, self._weights
        if setting.base_precision == "4bit":
            packed = round(frozen.linear_parameters * _FOUR_BIT)
            compute = 2 if self._autocast else 4
            return weights - frozen.linears + packed, frozen.largest_linear * compute
        if setting.distributed == "fsdp" and gpus > 1:
            own = -(-frozen.layers // gpus)
            return weights - frozen.layers + own, _GATHERED_LAYERS * frozen.largest_layer
        return weights, 0

    def _between(self, batch_size: int, checkpointing: bool) -> _Pass:
        if (batch_size, checkpointing) in self._done:
            return self._done[batch_size, checkpointing]
        sizes = [size for size, kind in self._done if kind == checkpointing]
        below = [size for size in sizes if size < batch_size]
        above = [size for size in sizes if size > batch_size]
        if not below or not above:
            raise KeyError(f"no simulated passes around a micro-batch of {batch_size}")
        low, high = max(below), min(above)
        share = (batch_size - low) / (high - low)
        a, b = self._done[low, checkpointing], self._done[high, checkpointing]
        return _Pass(
            *(
                round(x + share * (y - x))
                for x, y in zip(asdict(a).values(), asdict(b).values(), strict=True)
            )
        )

    def _simulated(self, batch_size: int, checkpointing: bool) -> _Pass:
        set_checkpointing(self._model, checkpointing)
        image = self._model.config.image_token_id
        result = estimate(
            self._model,
            self._trained,
            lambda: self._rows.inputs(batch_size, image),
            autocast_dtype=self._autocast,
            # The kinds of operators that keep something are the same on a GPU.
            device=torch.device("cpu"),
        )
        return _Pass(result.gradients, result.activations, result.transient)
