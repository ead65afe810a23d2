"""The peak memory of training, known before the first step: the step runs once on fake tensors.

Fake tensors have shapes and no storage. A forward and a backward pass over them take seconds and
next to no memory, whatever the model's size; a mode beneath autograd sees every tensor that is made
and freed, and so the peak, with whatever autograd keeps, gradient checkpointing recomputes and the
loss copies. Called before a run and by the dry run.

What it cannot see: buffers inside kernels (an allowance is made for them), and holes in the heap.
Where freed tensors go back to the system the estimate is within 2% of the peak (base `smol` on a
CPU); with `keep_freed_memory` the heap grows holes and the peak is up to 2.1 times the estimate,
which `dry_peak` measures (experiments/memory/estimate.py). On a GPU nothing was measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hydra_mobile.models.templates import IGNORE_INDEX

# Code pages and scratch buffers that the first real step brings in; measured with base `tiny`
# (11 MiB in fp32, 36 MiB in bf16).
_CPU_KERNELS = 32 * 2**20
# cuBLAS keeps a workspace of 32 MiB on Hopper, less on older cards. Not measured by us.
_CUDA_WORKSPACE = 32 * 2**20


@dataclass(frozen=True)
class MemoryEstimate:
    """What a training step holds at its peak, in bytes; `total` is the sum of the others.

    Attributes:
        weights: parameters and buffers of the model.
        gradients: of trained parameters, as far as they exist at the moment of the peak.
        moments: AdamW's two, fp32.
        activations: what autograd keeps from the forward for the backward pass, as far as it is
            there at the moment of the peak.
        transient: everything else that a pass makes: logits in fp32, temporaries, recomputation.
        process: on a CPU Python, libraries and whatever the process held besides; on a GPU the
            libraries' workspace.
        copies: of weights that `stage2.qat` rounds, with their scales.
        total: the peak: resident set on a CPU, allocated memory on a GPU.
    """

    weights: int
    gradients: int
    moments: int
    activations: int
    transient: int
    process: int
    copies: int = 0

    @property
    def total(self) -> int:
        """Return the estimated peak."""
        return (
            self.weights
            + self.copies
            + self.gradients
            + self.moments
            + self.activations
            + self.transient
            + self.process
        )

    def lines(self) -> list[str]:
        """Return the estimate for people, one part a line, the total last."""
        parts = {
            "weights": self.weights,
            **({"weights rounded to 4 bits": self.copies} if self.copies else {}),
            "gradients at the peak": self.gradients,
            "optimizer moments": self.moments,
            "activations kept for backward": self.activations,
            "loss and temporaries": self.transient,
            "process and libraries": self.process,
            "peak, estimated": self.total,
        }
        return [f"{name:<30}{size / 2**20:>10,.0f} MiB" for name, size in parts.items()]


def estimate(
    model: nn.Module,
    trained: Iterable[nn.Parameter],
    make_inputs: Callable[[], dict[str, Any]],
    *,
    autocast_dtype: torch.dtype | None,
    device: torch.device,
    accumulation: int = 1,
    copies: int = 0,
) -> MemoryEstimate:
    """Estimate the peak of training steps on batches as large as one.

    Model, gradients and random state are left as they are. Call it before the optimizer's first
    step, with the model as it will train (adapters in, checkpointing switched).

    Args:
        model: called as `model(**inputs).loss`.
        trained: the parameters that the optimizer holds.
        make_inputs: returns the arguments of the largest batch, real tensors; `labels` among them.
        autocast_dtype: the dtype of autocast, or None without it.
        device: where the model is.
        accumulation: micro-batches per optimizer step; above 1 gradients exist in the forward.
        copies: bytes of weights that are held twice later in the run.
    """
    trained = list(trained)
    weights, process = _at_rest(model, device)
    gradients = sum(p.numel() * p.element_size() for p in trained)
    meter = _simulate(model, make_inputs(), autocast_dtype, device)
    before = gradients if accumulation > 1 else 0
    peak = meter.at_peak
    return MemoryEstimate(
        weights=weights,
        gradients=max(before, peak.gradients),
        moments=sum(2 * 4 * p.numel() for p in trained),
        activations=peak.kept,
        transient=peak.live - peak.kept - peak.gradients,
        process=process,
        copies=copies,
    )


@dataclass
class _Moment:
    """Bytes made by the step that exist at one moment, and which of them are what."""

    live: int = 0
    kept: int = 0
    gradients: int = 0


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operators make, from their birth to their end."""

    def __init__(self, supervised: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = _Moment()
        self.at_peak = _Moment()
        self._supervised = supervised
        self._alive: dict[int, weakref.ref[Any]] = {}
        self._sizes: dict[int, int] = {}
        self._kept: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.nonzero.default:
            # The one shape that depends on data: where labels supervise. We know how many.
            result = args[0].new_empty(self._supervised, args[0].dim(), dtype=torch.int64)
        else:
            result = func(*args, **(kwargs or {}))
            returns = func._schema.returns
            if returns and all(part.alias_info is not None for part in returns):
                return result  # a view or the input itself: nothing new
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        self._sizes[key] = storage.nbytes()
        self._alive[key] = weakref.ref(storage, lambda _: self._end(key))
        self.now.live += self._sizes[key]
        if self.now.live > self.at_peak.live:
            self.at_peak = _Moment(self.now.live, self.now.kept, self.now.gradients)

    def _end(self, key: int) -> None:
        size = self._sizes.pop(key)
        del self._alive[key]
        self.now.live -= size
        if key in self._kept:
            self._kept.discard(key)
            self.now.kept -= size

    def forward_ended(self) -> None:
        """Take what exists now for what the backward pass needs."""
        self._kept = set(self._sizes)
        self.now.kept = self.now.live
        # A peak in the forward pass lay in the loss, after all layers.
        self.at_peak.kept = min(self.now.kept, self.at_peak.live)

    def gradient_made(self, parameter: Tensor) -> None:
        """Count a gradient; it exists until the optimizer's step."""
        if parameter.grad is not None:
            self.now.gradients += parameter.grad.untyped_storage().nbytes()


class _Step(nn.Module):
    """Forward and backward in one call, so that both see the fake parameters.

    Gradient checkpointing calls the layers again during the backward pass.
    """

    def __init__(self, model: nn.Module, meter: _Meter, autocast: torch.autocast) -> None:
        super().__init__()
        self.model = model
        self._meter = meter
        self._autocast = autocast

    def forward(self, **inputs: Any) -> None:
        with self._autocast:
            loss = self.model(**inputs).loss
        self._meter.forward_ended()
        loss.backward()


def _simulate(
    model: nn.Module,
    inputs: dict[str, Any],
    autocast_dtype: torch.dtype | None,
    device: torch.device,
) -> _Meter:
    """Run one step on fake tensors and return what was counted."""
    meter = _Meter(int((inputs["labels"][:, 1:] != IGNORE_INDEX).sum()))
    # Quantized weights stay real: their layers look for attributes of the tensor.
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    substitutes: dict[str, Tensor] = {
        f"model.{name}": fake.from_tensor(tensor)
        for name, tensor in state.items()
        if type(tensor) in (nn.Parameter, Tensor)
    }
    for tensor in substitutes.values():
        if tensor.requires_grad:
            hook = meter.gradient_made
            tensor.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    fakes = {
        name: fake.from_tensor(value.to(device)) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
    }
    autocast = torch.autocast(
        device.type, dtype=autocast_dtype or torch.bfloat16, enabled=autocast_dtype is not None
    )
    devices = [device] if device.type == "cuda" else []
    with training_mode(model), torch.random.fork_rng(devices=devices), fake, meter:
        functional_call(_Step(model, meter, autocast), substitutes, kwargs=fakes)
    return meter


@contextlib.contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into training mode (checkpointing needs it), afterwards as it was."""
    modes = {module: module.training for module in model.modules()}
    model.train()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _at_rest(model: nn.Module, device: torch.device) -> tuple[int, int]:
    """Return the bytes of the weights and of the process without them, before any step."""
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage()
        for t in (*model.parameters(), *model.buffers())
    }
    weights = sum(storage.nbytes() for storage in storages.values())
    if device.type != "cpu":
        return weights, _CUDA_WORKSPACE
    resident = psutil.Process().memory_info().rss - _free_in_heap()
    # Weights mapped from a file become resident when they are first read.
    here = sum(_resident_bytes(start, s.nbytes()) for start, s in storages.items())
    return weights, max(0, resident - here) + _CPU_KERNELS


def _resident_bytes(start: int, size: int) -> int:
    """Return how much of a range is in memory; all of it where the system does not say."""
    page = 4096
    if not sys.platform.startswith("linux") or size < page:
        return size
    first, last = start // page, -(-(start + size) // page)
    try:
        with Path("/proc/self/pagemap").open("rb", buffering=0) as pages:
            pages.seek(8 * first)
            entries = np.frombuffer(pages.read(8 * (last - first)), dtype=np.uint64)
    except OSError:
        return size
    # Bit 63: the page is in memory.
    return min(size, page * int((entries >> np.uint64(63)).sum()))


class _MallocInfo(ctypes.Structure):
    """Struct mallinfo2 of glibc's malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def _free_in_heap() -> int:
    """Return the bytes that the C library holds but has not given out; 0 where it does not say."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        mallinfo = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        return 0
    mallinfo.restype = _MallocInfo
    return int(mallinfo().fordblks)
