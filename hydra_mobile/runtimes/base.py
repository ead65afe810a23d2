"""What every runner does: four operations on numpy arrays, behind which a runtime hides.

A runner knows one runtime and how to load one artifact; it knows no benchmark, no prompt and no
sampling. `hydra_mobile.runtimes.generation` drives all runners through the same greedy loop, so
that answers differ only where the numbers do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.models.processor import MobileVLMProcessor

Array = NDArray[np.float32]


@dataclass(frozen=True)
class CacheState:
    """A position in the key-value cache.

    `length` tokens are in the cache. `handle` is what the runtime needs to go on from here: nothing
    for a program that holds its cache inside, the past tensors for one that passes them in and out.
    A state may be used again to rewind: tokens after `length` are then forgotten.
    """

    length: int = 0
    handle: Any = field(default=None, repr=False, compare=False)


class CacheLengths:
    """Lengths of the states that can still be used, for a cache that one buffer holds."""

    def __init__(self) -> None:
        self._lengths: list[int] = []

    def add(self, length: int) -> None:
        """Note a state that was just reached."""
        self._lengths.append(length)

    def rewind(self, length: int) -> None:
        """Forget the states beyond `length`.

        Raises:
            HydraError: there is no state of that length any more.
        """
        while self._lengths and self._lengths[-1] > length:
            self._lengths.pop()
        held = self._lengths[-1] if self._lengths else 0
        if held != length:
            raise HydraError(
                f"The cache holds {held} tokens up to the state of length {length}, which was "
                "forgotten when an earlier state was used again.",
                "Decode again from the start.",
            )


class Runtime(ABC):
    """One loaded artifact on one runtime. Not thread-safe: one generation at a time."""

    name: ClassVar[str]
    #: Whether its timings and memory say something; an emulator's do not, and no report has them.
    timings_count: bool = True

    #: Tokenizer, prompt template and image preprocessing that belong to the artifact.
    processor: MobileVLMProcessor
    #: Most tokens (prompt, image and answer) that the cache holds.
    max_context: int
    #: Seconds that loading took, until the first operation could run.
    load_seconds: float
    #: What is running, for the report: "fp32", "int4", "bf16", ...
    precision: str

    @classmethod
    @abstractmethod
    def load(cls, path: Path, *, threads: int = 0) -> Runtime:
        """Load the artifact at `path`; `threads` 0 leaves the choice to the runtime."""

    @classmethod  # noqa: B027 (most runtimes need nothing)
    def own_process(cls, threads: int) -> None:
        """Prepare a process that runs nothing but this runner; call it before `load`.

        Some runtimes are faster when they may set up the whole process, which no library should
        do to the program that uses it.
        """

    def peak_memory(self) -> int:
        """Return the most resident bytes of the process that holds the program so far."""
        return peak_resident_bytes()

    @abstractmethod
    def encode_image(self, pixels: Array) -> Array:
        """Map pixels float32 [1, 3, H, W] to image embeddings float32 [1, N, hidden]."""

    @abstractmethod
    def embed(self, ids: list[int]) -> Array:
        """Map n token ids to embeddings float32 [1, n, hidden]."""

    @abstractmethod
    def decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Append embeddings [1, n, hidden] to the cache; return the last logits [V] and new state.

        Raises:
            HydraError: `state.length + n` exceeds `max_context`.
        """
