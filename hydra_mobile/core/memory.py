"""The process's own memory: its peak, and an allocator that keeps what was freed."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

# mallopt(3) parameters.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory instead of returning it to the kernel.

    Eager torch frees and asks again for the same large tensors at every step; returning them costs
    a page fault per 4 KiB. Elsewhere than on glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def peak_resident_bytes() -> int:
    """Return the largest resident set that this process has had; 0 where nothing tells it."""
    # getrusage would do, but Linux hands its maximum down from the parent process.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        return 0
    import resource

    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
