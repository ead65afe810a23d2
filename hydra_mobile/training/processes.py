"""The processes of a run: one, several with a whole model each (DDP), or a model shared (FSDP).

Under DDP the model is wrapped for each stage and again after every change of its tensors, because
the reducer holds the old ones. Under FSDP only the frozen decoder weights are sharded; what
trains (adapters, projector) is small, is whole on every process, and its gradients are averaged
here, so that ranks can move and checkpoints look the same as in one process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hydra_mobile.adapters.broadcast import mean
from hydra_mobile.config import TrainConfig
from hydra_mobile.core.errors import ConfigError


class Processes:
    """What differs between one process and several."""

    def __init__(self, accelerator: Accelerator, config: TrainConfig) -> None:
        self.count: int = accelerator.num_processes
        self.index: int = accelerator.process_index
        self.kind = config.runtime.distributed if self.count > 1 else "single"
        self._accelerator = accelerator
        if self.kind == "fsdp":
            require_shardable(config)

    @property
    def main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.index == 0

    def summary(self) -> str:
        """Return a phrase for the start-up line; nothing for one process."""
        return "" if self.count == 1 else f" each in {self.count} processes ({self.kind})"

    def shard(self, model: Any) -> None:
        """Share the frozen decoder layers between the processes, in place (FSDP only)."""
        if self.kind != "fsdp":
            return
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self._accelerator.device.type, (self.count,))
        decoder = model.language_model.model
        for layer in decoder.layers:
            fully_shard(layer, mesh=mesh)
        inside = {id(p) for layer in decoder.layers for p in layer.parameters()}
        # Embedding and norm are called from outside the decoder's forward: they stay whole.
        whole = {p for p in decoder.parameters() if id(p) not in inside}
        fully_shard(decoder, mesh=mesh, ignored_params=whole)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module to call in training; call again after tensors were replaced."""
        if self.kind != "ddp":
            return model
        device = self._accelerator.device
        ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def without_sync(self, wrapped: nn.Module, skip: bool) -> AbstractContextManager[Any]:
        """Return a context in which a backward pass leaves gradients local, where `skip`."""
        if skip and isinstance(wrapped, DistributedDataParallel):
            return wrapped.no_sync()
        return contextlib.nullcontext()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients that no wrapper averages (FSDP only)."""
        if self.kind != "fsdp":
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        at = 0
        for gradient in gradients:
            gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
            at += gradient.numel()

    def mean(self, value: float) -> float:
        """Return the mean of a number over all processes."""
        return float(mean(torch.tensor([value], dtype=torch.float64))[0])

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return every process's tensor, in order; shapes must be the same."""
        if self.count == 1:
            return [tensor]
        here = tensor.to(self._accelerator.device)
        parts = [torch.empty_like(here) for _ in range(self.count)]
        dist.all_gather(parts, here)
        return [part.to(tensor.device) for part in parts]

    def first(self, work: Callable[[], None]) -> None:
        """Do `work` on the first process while the others wait."""
        if self.main:
            work()
        self.barrier()

    def first_alone(self, work: Callable[[], None]) -> None:
        """Do `work` on the first process, then, with what it left on disk, on the others."""
        self.first(work)
        if not self.main:
            work()

    def gather_objects(self, value: Any) -> list[Any]:
        """Return every process's small JSON-like value, in order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait for the others."""
        if self.count > 1:
            dist.barrier()

    def close(self) -> None:
        """End the process group, so that processes leave without complaint."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()


def require_shardable(config: TrainConfig) -> None:
    """Raise `ConfigError` where runtime.distributed=fsdp cannot work."""
    if config.ranks.policy == "full":
        raise ConfigError(
            "runtime.distributed=fsdp shards frozen weights only, and ranks.policy=full trains "
            "them all.",
            "Use runtime.distributed=ddp, or an adapter policy.",
        )
    if config.runtime.base_precision == "4bit":
        raise ConfigError(
            "A 4-bit base cannot be sharded: its packed weights have no rows to share.",
            "Use runtime.distributed=ddp with base_precision=4bit, or fsdp with full.",
        )
    if config.runtime.compile:
        raise ConfigError(
            "runtime.compile does not work together with runtime.distributed=fsdp here.",
            "Switch one of the two off.",
        )
