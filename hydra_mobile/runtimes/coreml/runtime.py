"""Runs a CoreML bundle: natively on macOS, by interpretation of its programs elsewhere.

Interpreted answers say what the programs define, not what Apple's kernels make of them, and their
speed says nothing; `execution` names which of the two ran. Both ways share everything here but the
engine: chunks, padding, and the cache, which the host holds. Running natively has been tested with
a stand-in for CoreML only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import METHODS, TEXT_DECODER, TOKEN_EMBEDDING, VISION_ENCODER
from hydra_mobile.runtimes.base import Array, BundleRuntime, CacheLengths, CacheState
from hydra_mobile.runtimes.coreml.availability import INTERPRETED, NATIVE, native_available

Values = Mapping[str, NDArray[Any]]
MAIN, PREFILL, DECODE = "main", "prefill", "decode"
_NUMPY = {"fp16": np.float16, "fp32": np.float32, "int32": np.int32}


class Engine(Protocol):
    """Evaluates one package."""

    def run(self, function: str, inputs: Values) -> dict[str, NDArray[Any]]:
        """Evaluate a function of the package."""


class NativeEngine:
    """CoreML's own prediction, one loaded model for each function.

    Args:
        folder: the `.mlpackage`.
        load: makes a model from a path and the name of a function; None takes coremltools'.
    """

    def __init__(self, folder: Path, load: Callable[..., Any] | None = None) -> None:
        from hydra_mobile.runtimes.coreml.program import read_program

        program = read_program(folder)
        self._inputs = {name: f.inputs for name, f in program.functions.items()}
        names = list(program.functions)
        self._models = {
            name: (load or _load_native)(folder, name if len(names) > 1 else None) for name in names
        }

    def run(self, function: str, inputs: Values) -> dict[str, NDArray[Any]]:
        """Evaluate a function; inputs are given the types that it declares."""
        kinds = self._inputs[function]
        typed = {name: value.astype(_NUMPY[kinds[name].dtype]) for name, value in inputs.items()}
        results: Values = self._models[function].predict(typed)
        return {name: np.asarray(value, np.float32) for name, value in results.items()}


def _load_native(folder: Path, function: str | None) -> Any:
    import coremltools

    return coremltools.models.MLModel(str(folder), function_name=function)


class CoreMLRuntime(BundleRuntime):
    """The three packages of one bundle, with the cache on the host's side.

    Args:
        bundle: opened, so whole.
        engines: role (each of `METHODS`) -> what evaluates its package.
        execution: `INTERPRETED` or `NATIVE`.
    """

    name = "coreml"
    title = "CoreML"
    summary = "bundles in CoreML on a Mac, interpreted elsewhere"
    extra = "coreml"
    packages = ("coremltools",)

    def __init__(self, bundle: Bundle, engines: Mapping[str, Engine], execution: str) -> None:
        super().__init__(bundle)
        self.execution = execution
        self._engines = engines
        shapes = bundle.shapes
        cache = (shapes["layers"], shapes["kv_heads"], self.max_context, shapes["head_dim"])
        self._keys = np.zeros(cache, np.float32)
        self._values = np.zeros(cache, np.float32)
        # Lengths of the states that can still be used, oldest first.
        self._lengths = CacheLengths()

    @classmethod
    def label(cls, preset: str) -> str:
        """Return the name of a bundle in tables, which says how its answers come about."""
        return f"{cls.title} {preset} ({NATIVE if native_available() else INTERPRETED})"

    @classmethod
    def is_simulated(cls) -> bool:
        """Whether programs are interpreted here: everywhere but on a Mac."""
        return not native_available()

    @classmethod
    def _load(cls, bundle: Bundle, threads: int) -> Self:
        from hydra_mobile.runtimes.coreml.interpreter import Interpreter

        native = native_available()
        make: Callable[[Path], Engine] = NativeEngine if native else Interpreter
        engines = {role: make(bundle.file(role).parent) for role in METHODS}
        return cls(bundle, engines, NATIVE if native else INTERPRETED)

    def _encode_image(self, pixels: Array) -> Array:
        return self._engines[VISION_ENCODER].run(MAIN, {"pixels": pixels})["image_embeddings"]

    def _embed(self, ids: list[int]) -> Array:
        parts = []
        for function, start, end, length in self._chunks(len(ids)):
            padded = np.zeros((1, length), np.int32)
            padded[0, : end - start] = ids[start:end]
            found = self._engines[TOKEN_EMBEDDING].run(function, {"ids": padded})
            parts.append(found["token_embeddings"][:, : end - start])
        return np.concatenate(parts, axis=1)

    def _decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        count = embeddings.shape[1]
        self._lengths.rewind(state.length)
        logits = np.empty(0, np.float32)
        for function, start, end, length in self._chunks(count):
            logits = self._step(function, embeddings[:, start:end], state.length + start, length)
        self._lengths.add(state.length + count)
        return logits, CacheState(state.length + count)

    def _step(self, function: str, rows: Array, position: int, length: int) -> Array:
        """Run the decoder on `rows`, padded to `length`, and write their part of the cache."""
        count = rows.shape[1]
        padded = np.zeros((1, length, self.hidden_size), np.float32)
        padded[:, :count] = rows
        found = self._engines[TEXT_DECODER].run(
            function,
            {
                "embeddings": padded,
                "position": np.array([position], np.int32),
                "count": np.array([count], np.int32),
                "keys": self._keys,
                "values": self._values,
            },
        )
        self._keys[:, :, position : position + count] = found["new_keys"][:, :, :count]
        self._values[:, :, position : position + count] = found["new_values"][:, :, :count]
        return np.array(found["logits"], np.float32).reshape(-1)

    def _chunks(self, count: int) -> list[tuple[str, int, int, int]]:
        """Split `count` rows into calls: function, first row, end, rows that the function takes."""
        starts = range(0, count, self.max_prefill)
        ends = [min(start + self.max_prefill, count) for start in starts]
        return [
            (DECODE, start, end, 1) if end - start == 1 else (PREFILL, start, end, self.max_prefill)
            for start, end in zip(starts, ends, strict=True)
        ]
