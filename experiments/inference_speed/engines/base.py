"""What every engine does: load a form of the merged model, read a prompt, append one token.

An engine knows one runtime. It knows no protocol: `measure.py` drives all engines alike, counts the
same tokens and takes the same maximum of the same logits, so that times differ only by what lies
between a token id and the logits that follow it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.runtimes.base import Array


@dataclass(frozen=True)
class Form:
    """One form of the model in one engine.

    Attributes:
        name: as in tables: "onnx-int4".
        engine: key of `ENGINES`.
        precision: what the engine calls it: a preset, a GGUF type.
        bits: nominal bits of a weight, by which peers are matched: 32, 8 or 4.
    """

    name: str
    engine: str
    precision: str
    bits: int


@dataclass(frozen=True)
class Place:
    """Where things are.

    Attributes:
        merged: the merged folder.
        weights: sha256 of its weights, by which bundles are recognized as its own.
        work: files that engines make, one folder for each form.
        bundles: folders searched for finished bundles of ours.
        context: tokens that a cache must hold.
        prefill: most tokens of one call.
        export: whether bundles that are not found may be exported, which takes minutes each.
    """

    merged: Path
    weights: str
    work: Path
    bundles: tuple[Path, ...]
    context: int
    prefill: int
    export: bool = True


class Engine(ABC):
    """One loaded model, with one sequence in its cache."""

    #: Whether it encodes pictures; otherwise it holds the language part alone.
    whole: ClassVar[bool] = False
    #: What its times include beside the program, and other facts that a reader needs.
    note: ClassVar[str] = ""
    load_seconds: float

    @classmethod
    def missing(cls) -> str | None:
        """Return why this engine cannot run here; None: it can."""
        return None

    @classmethod  # noqa: B027 (some runtimes load with their library)
    def imported(cls) -> None:
        """Import the runtime: the memory of a process with nothing loaded is then known."""

    @classmethod
    @abstractmethod
    def make(cls, form: Form, place: Place) -> list[Path]:
        """Make the model's files, unless they are there; return those that count as its size.

        Raises:
            HydraError: this model cannot be brought into this form.
        """

    @abstractmethod
    def __init__(self, form: Form, place: Place, threads: int) -> None:
        """Load the files that `make` has left, on `threads` threads."""

    @abstractmethod
    def read(self, ids: list[int]) -> Array:
        """Forget everything, read a prompt of ids in one call, return the last logits [V]."""

    @abstractmethod
    def step(self, token: int) -> Array:
        """Append one token and return the logits [V] that follow it."""

    def encode(self, pixels: Array) -> Array:
        """Map pixels [1, 3, H, W] to image embeddings [1, N, hidden]."""
        raise NotImplementedError(f"{type(self).__name__} holds the language part alone")

    def read_picture(self, picture: Array, ids: list[int]) -> Array:
        """Forget everything, read image embeddings and then ids; return the last logits [V]."""
        raise NotImplementedError(f"{type(self).__name__} holds the language part alone")

    def facts(self) -> dict[str, Any]:
        """Return what is worth recording about the engine: build, instruction sets, versions."""
        return {}

    def profile(self, ids: list[int], steps: int, file: Path) -> list[dict[str, Any]] | None:
        """Return rows {phase, operator, ms, calls, share} of a run; None: it cannot."""
        return None


def as_ids(ids: list[int]) -> NDArray[np.int64]:
    """Return ids as int64 [1, n]."""
    return np.array([ids], np.int64)
