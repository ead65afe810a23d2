"""Runs a CoreML bundle: natively on macOS, by interpretation of its programs elsewhere.

Interpreted answers say what the programs define, not what Apple's kernels make of them, and their
speed says nothing; `execution` names which of the two ran. Both ways share everything here but the
engine: chunks, padding, and the cache, which the host holds. Running natively has been tested with
a stand-in for CoreML only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import METHODS, TEXT_DECODER, TOKEN_EMBEDDING, VISION_ENCODER
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.runtimes.base import Array, CacheLengths, CacheState, Runtime
from hydra_mobile.runtimes.coreml.availability import INTERPRETED, NATIVE, native_available
from hydra_mobile.runtimes.coreml.interpreter import Interpreter
from hydra_mobile.runtimes.coreml.program import read_program

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


class CoreMLRuntime(Runtime):
    """The three packages of one bundle, with the cache on the host's side.

    Args:
        bundle: opened, so whole.
        engines: role (each of `METHODS`) -> what evaluates its package.
        execution: `INTERPRETED` or `NATIVE`.
    """

    name: ClassVar[str] = "coreml"

    def __init__(self, bundle: Bundle, engines: Mapping[str, Engine], execution: str) -> None:
        self.bundle = bundle
        self.processor = bundle.processor()
        self.max_context = bundle.limits.max_context
        self.precision = bundle.preset.name
        self.load_seconds = 0.0
        #: How answers come about, for reports.
        self.execution = execution
        self._engines = engines
        self._max_prefill = bundle.limits.max_prefill
        shapes = bundle.shapes
        self._vocabulary, self._hidden = shapes["vocab_size"], shapes["hidden_size"]
        cache = (shapes["layers"], shapes["kv_heads"], self.max_context, shapes["head_dim"])
        self._keys = np.zeros(cache, np.float32)
        self._values = np.zeros(cache, np.float32)
        # Lengths of the states that can still be used, oldest first.
        self._lengths = CacheLengths()

    @classmethod
    def load(cls, path: Path, *, threads: int = 0) -> CoreMLRuntime:
        """Load the bundle at `path`; `threads` is left to CoreML or torch.

        Raises:
            ArtifactError: incomplete or altered bundle, one for another runtime, or a package that
                cannot be read.
            HydraError: interpretation meets an operator that it does not know.
        """
        bundle = Bundle.open(Path(path))
        if bundle.runtime != cls.name:
            raise ArtifactError(
                f"{path} is a bundle for the runtime `{bundle.runtime}`, not `{cls.name}`."
            )
        start = time.perf_counter()
        native = native_available()
        make: Callable[[Path], Engine] = NativeEngine if native else Interpreter
        engines = {role: make(bundle.file(role).parent) for role in METHODS}
        runner = cls(bundle, engines, NATIVE if native else INTERPRETED)
        runner.load_seconds = time.perf_counter() - start
        return runner

    def encode_image(self, pixels: Array) -> Array:
        """Map pixels float32 [1, 3, H, W] to image embeddings float32 [1, N, hidden]."""
        size = self.bundle.shapes["image_size"]
        if pixels.shape != (1, 3, size, size):
            raise HydraError(f"Pixels have shape {pixels.shape}, expected (1, 3, {size}, {size}).")
        return self._engines[VISION_ENCODER].run(MAIN, {"pixels": pixels})["image_embeddings"]

    def embed(self, ids: list[int]) -> Array:
        """Map n token ids to embeddings float32 [1, n, hidden].

        Raises:
            HydraError: an id lies outside the table.
        """
        wrong = [token for token in ids if not 0 <= token < self._vocabulary]
        if wrong:
            raise HydraError(f"Token ids {wrong[:5]} lie outside of 0..{self._vocabulary - 1}.")
        parts = [np.zeros((1, 0, self._hidden), np.float32)]
        for function, start, end, length in self._chunks(len(ids)):
            padded = np.zeros((1, length), np.int32)
            padded[0, : end - start] = ids[start:end]
            found = self._engines[TOKEN_EMBEDDING].run(function, {"ids": padded})
            parts.append(found["token_embeddings"][:, : end - start])
        return np.concatenate(parts, axis=1)

    def decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Append embeddings [1, n, hidden]; return the last logits [V] and the new state.

        Raises:
            HydraError: the cache cannot hold them, or `state` was forgotten by a rewind.
        """
        count = embeddings.shape[1]
        if embeddings.shape != (1, count, self._hidden) or count == 0:
            raise HydraError(
                f"Embeddings have shape {embeddings.shape}, expected (1, n > 0, {self._hidden})."
            )
        if state.length + count > self.max_context:
            raise HydraError(
                f"{state.length} tokens are in the cache and {count} more do not fit: "
                f"the program holds {self.max_context}.",
                "Shorten the prompt, or export with a larger max_context.",
            )
        self._lengths.rewind(state.length)
        logits = np.empty(0, np.float32)
        for function, start, end, length in self._chunks(count):
            logits = self._step(function, embeddings[:, start:end], state.length + start, length)
        self._lengths.add(state.length + count)
        return logits, CacheState(state.length + count)

    def _step(self, function: str, rows: Array, position: int, length: int) -> Array:
        """Run the decoder on `rows`, padded to `length`, and write their part of the cache."""
        count = rows.shape[1]
        padded = np.zeros((1, length, self._hidden), np.float32)
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
        starts = range(0, count, self._max_prefill)
        ends = [min(start + self._max_prefill, count) for start in starts]
        return [
            (DECODE, start, end, 1)
            if end - start == 1
            else (PREFILL, start, end, self._max_prefill)
            for start, end in zip(starts, ends, strict=True)
        ]
