"""The machine as the trainer sees it: precision, threads, allocator, peak memory."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

import torch

from hydra_mobile.config import RuntimeConfig

# mallopt(3) parameters.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory instead of returning it to the kernel.

    Each training step frees and asks again for the same large tensors; returning them costs a
    page fault per 4 KiB, which made stage I several times slower on a CPU. Elsewhere than on
    glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


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


def set_threads(config: RuntimeConfig) -> int:
    """Set and return the number of CPU threads."""
    threads = config.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    return threads


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak so far: allocated GPU memory, or the process's resident set on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
