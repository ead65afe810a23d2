"""The machine as the trainer sees it: precision, threads, peak memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate.state import AcceleratorState

from hydra_mobile.config import RuntimeConfig
from hydra_mobile.core.memory import peak_resident_bytes


@contextlib.contextmanager
def separate_state() -> Iterator[None]:
    """Give a run process-wide state of its own; afterwards the caller's is as before.

    accelerate holds one precision per process and refuses another, torch one number of threads and
    one generator: a notebook trains more than once, and does other things in between.
    """
    accelerate = AcceleratorState._shared_state
    before, threads = dict(accelerate), torch.get_num_threads()
    accelerate.clear()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        accelerate.clear()
        accelerate.update(before)
        torch.set_num_threads(threads)


def choose_precision(config: RuntimeConfig, device: torch.device) -> tuple[str, str]:
    """Return "bf16" or "fp32" and the reason, for the start-up line."""
    if config.precision != "auto":
        return config.precision, "as configured"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return "bf16", "this GPU computes in bf16"
        return "fp32", "this GPU does not compute in bf16"
    if device.type == "cpu" and _cpu_has("avx512_bf16", "amx_bf16"):
        return "bf16", "this CPU has bf16 instructions"
    return "fp32", f"no fast bf16 on this {device.type}"


def _cpu_has(*flags: str) -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    found = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return any(flag in found for flag in flags)


def set_threads(config: RuntimeConfig, processes: int = 1) -> int:
    """Set and return the number of CPU threads of each of this machine's processes."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    threads = config.threads or max(1, (os.cpu_count() or 1) // local)
    torch.set_num_threads(threads)
    return threads


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak so far: allocated GPU memory, or the process's resident set on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident_bytes()
