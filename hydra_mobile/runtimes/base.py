"""What every runtime does: three operations on numpy arrays, behind which an engine hides.

A runtime loads one artifact; it knows no benchmark, no prompt and no sampling.
`hydra_mobile.runtimes.generation` drives all runtimes through the same greedy loop, so that answers
differ only where the numbers do. What is checked before an engine sees its input, and the clock
around it, stand here once for all of them.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.boundaries import first_line_of
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.core.registry import require_packages
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
    """One loaded artifact on one runtime. Not thread-safe: one generation at a time.

    A runtime fills in the facts about itself and `load`, `_encode_image`, `_embed` and `_decode`.

    Args:
        processor: tokenizer, prompt template and image preprocessing of the artifact.
        max_context: most tokens (prompt, image and answer) that the cache holds.
        precision: what is running, for the report: "fp32", "int4", "bf16", ...
        vocab_size: rows of the embedding table, and logits of a position.
        hidden_size: width of an embedding.
    """

    name: ClassVar[str]
    #: What people call it.
    title: ClassVar[str]
    #: One line for help texts.
    summary: ClassVar[str]
    #: Which of our extras brings `packages`, by the names under which they are imported.
    extra: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()
    #: Whether the program runs in this process; else in one of its own, or on another machine.
    in_process: ClassVar[bool] = True
    #: Whether its timings and memory say something; an emulator's do not, and no report has them.
    timings_count: ClassVar[bool] = True
    #: What a report must say about where its numbers come from; empty: nothing.
    execution: str = ""

    #: Seconds that loading took, until the first operation could run.
    load_seconds: float = 0.0
    #: Seconds inside the runtime so far. What remains of the time of an answer is Python around
    #: it: tokenizing, waiting for pictures, writing answers.
    seconds: float = 0.0

    def __init__(
        self,
        processor: MobileVLMProcessor,
        *,
        max_context: int,
        precision: str,
        vocab_size: int,
        hidden_size: int,
    ) -> None:
        self.processor = processor
        self.max_context = max_context
        self.precision = precision
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.image_size = processor.image.size

    @classmethod
    @abstractmethod
    def load(cls, model: Bundle | Path, *, threads: int = 0) -> Self:
        """Load an artifact.

        Args:
            model: its folder, or a bundle that was opened already.
            threads: 0 leaves the choice to the runtime.

        Raises:
            ArtifactError: incomplete or altered, or made for another runtime.
            HydraError: an optional package is missing.
        """

    @classmethod
    def require_installed(cls) -> None:
        """Raise `HydraError` with the line that installs what this runtime needs and lacks."""
        require_packages(cls.packages, cls.extra)

    @classmethod
    def label(cls, preset: str) -> str:
        """Return the name of a bundle with this preset in tables, for example "ExecuTorch int4"."""
        return f"{cls.title} {preset}"

    @classmethod
    def is_simulated(cls) -> bool:
        """Whether answers here are computed in place of the runtime, which is not on this system.

        Too slow for a benchmark unless somebody asks for it.
        """
        return False

    @classmethod  # noqa: B027 (most runtimes need nothing)
    def own_process(cls, threads: int) -> None:
        """Prepare a process that runs nothing but this runtime; call it before `load`.

        Some runtimes are faster when they may set up the whole process, which no library should
        do to the program that uses it.
        """

    def peak_memory(self) -> int:
        """Return the most resident bytes of the process that holds the program so far."""
        return peak_resident_bytes()

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """Of the pixels of one picture: [1, 3, H, W], or [1, K, 3, H, W] in K tiles."""
        size, count = self.image_size, self.processor.image.squares
        return (1, 3, size, size) if count == 1 else (1, count, 3, size, size)

    def encode_image(self, pixels: Array) -> Array:
        """Map pixels float32 [1, 3, H, W] to image embeddings float32 [1, N, hidden].

        A picture in K tiles is [1, K, 3, H, W]: the program sees one after another, and there are
        K * N embeddings.

        Raises:
            HydraError: the pixels have another shape than the vision encoder reads.
        """
        if pixels.shape != self.pixel_shape:
            raise HydraError(
                f"Pixels have shape {pixels.shape}, expected {self.pixel_shape}.",
                "Preprocess images with the artifact's own processor.",
            )
        began = time.perf_counter()
        tiles = pixels.reshape(-1, *pixels.shape[-3:])
        with self._engine("the vision encoder"):
            encoded = [self._encode_image(tile[None]) for tile in tiles]
        result = encoded[0] if len(encoded) == 1 else np.concatenate(encoded, axis=1)
        self.seconds += time.perf_counter() - began
        return result

    def embed(self, ids: list[int]) -> Array:
        """Map n token ids to embeddings float32 [1, n, hidden].

        Raises:
            HydraError: an id lies outside the embedding table, as the image token's may.
        """
        # Kernels read whatever lies outside of the table, or end the process.
        wrong = [token for token in ids if not 0 <= token < self.vocab_size]
        if wrong:
            raise HydraError(
                f"Token ids {wrong[:5]} lie outside the embedding table of {self.vocab_size} rows.",
                "Encode prompts with the artifact's own processor.",
            )
        if not ids:
            return np.zeros((1, 0, self.hidden_size), np.float32)
        began = time.perf_counter()
        with self._engine("the token embedding"):
            result = self._embed(ids)
        self.seconds += time.perf_counter() - began
        return result

    def picture_rows(self, embeddings: Array) -> Array:
        """Return what stands in a picture's place: its embeddings [1, n, hidden], tiles' texts too.

        Raises:
            HydraError: there are more or fewer embeddings than the picture has tokens.
        """
        processor = self.processor
        if processor.image.tiles is None:
            if embeddings.shape[1] != processor.num_image_tokens:
                raise self._other_count(embeddings, processor.num_image_tokens)
            return embeddings
        ids = np.array(processor.image_ids)
        pictured = ids == processor.image_token_id
        if embeddings.shape[1] != pictured.sum():
            raise self._other_count(embeddings, int(pictured.sum()))
        rows = np.zeros((1, len(ids), self.hidden_size), np.float32)
        rows[:, pictured] = embeddings
        rows[:, ~pictured] = self.embed(ids[~pictured].tolist())
        return rows

    @staticmethod
    def _other_count(embeddings: Array, expected: int) -> HydraError:
        return HydraError(
            f"A picture has {embeddings.shape[1]} embeddings, expected {expected}.",
            "Program and processor are of different models; export the bundle again.",
        )

    def _engine(self, part: str) -> contextlib.AbstractContextManager[None]:
        """Return what stands around a call of the engine; `part` is of the model."""
        return contextlib.nullcontext()

    def decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Append embeddings [1, n, hidden] to the cache; return the last logits [V] and new state.

        Raises:
            HydraError: the shape is another, `state.length + n` exceeds `max_context`, or `state`
                was forgotten when an earlier one was used again.
        """
        count = embeddings.shape[1] if embeddings.ndim == 3 else 0
        if embeddings.shape != (1, count, self.hidden_size) or count == 0:
            raise HydraError(
                f"Embeddings have shape {embeddings.shape}, expected "
                f"(1, n > 0, {self.hidden_size}).",
                "Take them from `embed` and `encode_image` of the same runtime.",
            )
        if state.length + count > self.max_context:
            raise HydraError(
                f"{state.length} tokens are in the cache and {count} more do not fit: it holds "
                f"max_context = {self.max_context}.",
                "Shorten the prompt or the answer, or export with a larger max_context.",
            )
        began = time.perf_counter()
        with self._engine("the text decoder"):
            result = self._decode(embeddings, state)
        self.seconds += time.perf_counter() - began
        return result

    @abstractmethod
    def _encode_image(self, pixels: Array) -> Array:
        """Do what `encode_image` says; pixels have the shape that the processor gives."""

    @abstractmethod
    def _embed(self, ids: list[int]) -> Array:
        """Do what `embed` says; there is at least one id, and all are in the table."""

    @abstractmethod
    def _decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Do what `decode` says; the shape is right, and the embeddings fit into the cache."""


class BundleRuntime(Runtime):
    """A runtime of bundles.

    Args:
        bundle: opened, so whole.
    """

    #: The bundle's runtime that it runs, where that is not its own name.
    format: ClassVar[str] = ""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(
            bundle.processor(),
            max_context=bundle.limits.max_context,
            precision=bundle.preset.name,
            vocab_size=bundle.shapes["vocab_size"],
            hidden_size=bundle.shapes["hidden_size"],
        )
        self.bundle = bundle
        self.max_prefill = bundle.limits.max_prefill

    @contextlib.contextmanager
    def _engine(self, part: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # onnxruntime's exceptions share no base class.
            engine = type(error).__module__.partition(".")[0] == "onnxruntime"
            if not engine and not isinstance(error, RuntimeError):
                raise
            raise ArtifactError(
                f"{self.bundle.path}: {self.name} cannot run {part}: {first_line_of(error)}",
                "Manifest and program are of different models; export the bundle again.",
                where=str(self.bundle.path),
                found=first_line_of(error),
            ) from error

    @classmethod
    def load(cls, model: Bundle | Path, *, threads: int = 0) -> Self:
        """Check the hashes of a bundle, unless that was done when it was opened, and load it.

        Args:
            model: an opened bundle, or its folder (`BUNDLE#NAME` for one of its adapters).
            threads: 0 leaves the choice to the runtime.

        Raises:
            ArtifactError: incomplete or altered, made for another runtime, or a program that this
                version of the runtime cannot load.
            HydraError: an optional package is missing.
        """
        cls.require_installed()
        bundle = Bundle.open(model)
        expected = cls.format or cls.name
        if bundle.runtime != expected:
            raise ArtifactError(
                f"{bundle.path} is a bundle for the runtime `{bundle.runtime}`, not `{expected}`.",
                "Export the model again with that --runtime.",
            )
        began = time.perf_counter()
        runtime = cls._load(bundle, threads)
        runtime.load_seconds = time.perf_counter() - began
        return runtime

    @classmethod
    @abstractmethod
    def _load(cls, bundle: Bundle, threads: int) -> Self:
        """Load the programs of a bundle that is for this runtime and whole."""
