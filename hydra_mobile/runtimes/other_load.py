"""How busy the other programs of this machine were while something was timed here."""

from __future__ import annotations

import time

import psutil


class OtherLoad:
    """Measures from its creation on."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._all, self._own = _busy(), _own()

    def share(self) -> float:
        """Return the share in [0, 1] of all processors that other programs used since then.

        Time that a hypervisor took away counts as theirs.
        """
        seconds = (time.perf_counter() - self._began) * (psutil.cpu_count() or 1)
        others = (_busy() - self._all) - (_own() - self._own)
        return min(1.0, max(0.0, others / seconds)) if seconds else 0.0


def _busy() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Guests are counted in `user` already.
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - idle - guests)


def _own() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
