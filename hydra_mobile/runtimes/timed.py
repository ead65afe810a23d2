"""A runner with a clock around it: how long the runtime itself was at work.

What remains of the time is Python around it: tokenizing, waiting for pictures, writing answers.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from hydra_mobile.runtimes.base import Array, CacheState, Runtime


class TimedRuntime(Runtime):
    """Passes everything on to `runner` and adds up the seconds that it takes."""

    name: ClassVar[str] = "timed"

    def __init__(self, runner: Runtime) -> None:
        self._runner = runner
        self.processor = runner.processor
        self.max_context = runner.max_context
        self.precision = runner.precision
        self.load_seconds = runner.load_seconds
        self.timings_count = runner.timings_count
        #: Seconds inside the runtime so far.
        self.seconds = 0.0

    @classmethod
    def load(cls, path: Path, *, threads: int = 0) -> TimedRuntime:
        """Not a runtime of its own: wrap a loaded runner instead."""
        raise TypeError("TimedRuntime wraps a loaded runner")

    def peak_memory(self) -> int:
        """Return the runner's: its process may be another than this one."""
        return self._runner.peak_memory()

    def encode_image(self, pixels: Array) -> Array:
        """Time the runner's `encode_image`."""
        began = time.perf_counter()
        result = self._runner.encode_image(pixels)
        self.seconds += time.perf_counter() - began
        return result

    def embed(self, ids: list[int]) -> Array:
        """Time the runner's `embed`."""
        began = time.perf_counter()
        result = self._runner.embed(ids)
        self.seconds += time.perf_counter() - began
        return result

    def decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Time the runner's `decode`."""
        began = time.perf_counter()
        result = self._runner.decode(embeddings, state)
        self.seconds += time.perf_counter() - began
        return result
