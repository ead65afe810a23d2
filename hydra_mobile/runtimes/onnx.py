"""Runs the three ONNX graphs of a bundle with onnxruntime.

The cache lives in one buffer per layer that the decoder writes in place: binding past and present
to the same memory saves copying the cache at every token. A state is therefore a length; going
back to an earlier state forgets what came after, and a state that was forgotten is refused.

A base program takes an adapter from a file. Its tensors stay bound between calls, and another
adapter takes their place without loading anything else.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import METHODS, TEXT_DECODER, TOKEN_EMBEDDING, VISION_ENCODER
from hydra_mobile.bundle.lora_file import AdapterFiles, filled
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.runtimes.base import Array, CacheLengths, CacheState, Runtime
from hydra_mobile.runtimes.onnx_threads import share_pool, use_threads

#: Role of a file in the bundle -> the inputs that its graph must have (the decoder has more).
_INPUTS = {
    VISION_ENCODER: {"pixel_values"},
    TOKEN_EMBEDDING: {"input_ids"},
    TEXT_DECODER: {"inputs_embeds", "attention_mask", "position_ids"},
}


class OnnxRuntime(Runtime):
    """The graphs of one folder.

    Args:
        files: role (each of `METHODS`) -> file.
        processor: tokenizer, template and preprocessing of the model.
        max_context: tokens that the cache holds.
        precision: name of the preset.
        threads: threads of each operator; 0 leaves the choice to onnxruntime.
        adapter: files for a base program; None: none.

    Raises:
        ArtifactError: a file is missing, is no ONNX graph or is another graph than its role says;
            the adapter is damaged or belongs to another program.
    """

    name: ClassVar[str] = "onnx"

    def __init__(
        self,
        files: dict[str, Path],
        processor: MobileVLMProcessor,
        max_context: int,
        precision: str,
        threads: int = 0,
        adapter: AdapterFiles | None = None,
    ) -> None:
        started = time.perf_counter()
        sessions = {role: _session(role, files, threads) for role in _INPUTS}
        self._vision = sessions[VISION_ENCODER]
        self._embedding = sessions[TOKEN_EMBEDDING]
        self._decoder = sessions[TEXT_DECODER]
        self.processor = processor
        self.max_context = max_context
        self.precision = precision
        shapes = {value.name: value.shape for value in self._decoder.get_outputs()}
        self._vocabulary = int(shapes["logits"][-1])
        self._hidden = int(self._embedding.get_outputs()[0].shape[-1])
        self._cache = self._new_cache()
        self.use_adapter(adapter)
        self.load_seconds = time.perf_counter() - started

    @classmethod
    def load(cls, path: Path, *, threads: int = 0) -> OnnxRuntime:
        """Load the bundle at `path`.

        Raises:
            ArtifactError: the folder is no bundle of the ONNX runtime, or a file was altered.
        """
        bundle = Bundle.open(Path(path))
        if bundle.runtime != cls.name:
            raise ArtifactError(
                f"{path} is a bundle for the runtime `{bundle.runtime}`, not `{cls.name}`."
            )
        return cls(
            {role: bundle.file(role) for role in METHODS},
            bundle.processor(),
            bundle.limits.max_context,
            bundle.preset.name,
            threads,
            adapter_files(bundle),
        )

    @classmethod
    def own_process(cls, threads: int) -> None:
        """Let all graphs of this process share one pool of threads."""
        share_pool(threads)

    def use_adapter(self, adapter: AdapterFiles | None) -> None:
        """Compute with another adapter from now on, or with none.

        What the cache holds was computed with the last one, so every state is forgotten.

        Raises:
            ArtifactError: a file is missing, damaged, or made for another program; the runner then
                goes on as it was.
        """
        files = adapter or AdapterFiles(None, None)
        vision = filled(self._vision.get_overridable_initializers(), files.vision)
        decoder = filled(self._decoder.get_overridable_initializers(), files.decoder)
        binding = self._decoder.io_binding()
        for past, present, buffer in self._cache:
            binding.bind_ortvalue_input(past, buffer)
            binding.bind_ortvalue_output(present, buffer)
        for name, value in decoder.items():
            binding.bind_ortvalue_input(name, value)
        self._binding, self._vision_adapter = binding, vision
        # Lengths of the states that can still be used, oldest first.
        self._lengths = CacheLengths()

    def encode_image(self, pixels: Array) -> Array:
        """Map pixels float32 [1, 3, H, W] to image embeddings float32 [1, N, hidden].

        Raises:
            HydraError: the graph was made for another shape.
        """
        expected = self._vision.get_inputs()[0].shape[1:]
        if list(pixels.shape[1:]) != list(expected):
            raise HydraError(
                f"pixels have the shape {list(pixels.shape)}, the vision encoder reads "
                f"[batch, {', '.join(map(str, expected))}].",
                "Preprocess pictures with the bundle's own processor.",
            )
        given = {"pixel_values": ort.OrtValue.ortvalue_from_numpy(pixels), **self._vision_adapter}
        output: Array = self._vision.run_with_ort_values(None, given)[0].numpy()
        return output

    def embed(self, ids: list[int]) -> Array:
        """Map n token ids to embeddings float32 [1, n, hidden].

        Raises:
            HydraError: an id lies outside the table, as the image token's does.
        """
        wrong = [i for i in ids if not 0 <= i < self._vocabulary]
        if wrong:
            raise HydraError(
                f"Token id {wrong[0]} lies outside the embedding table of {self._vocabulary} rows."
            )
        output: Array = self._embedding.run(None, {"input_ids": np.array([ids], np.int64)})[0]
        return output

    def decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Append embeddings [1, n, hidden] to the cache; return the last logits [V] and new state.

        Raises:
            HydraError: `state.length + n` exceeds `max_context`.
        """
        start, count = state.length, embeddings.shape[1]
        length = start + count
        if embeddings.shape != (1, count, self._hidden) or count == 0:
            raise HydraError(
                f"Embeddings have shape {embeddings.shape}, expected (1, n > 0, {self._hidden})."
            )
        if length > self.max_context:
            raise HydraError(
                f"{start} tokens in the cache and {count} new ones exceed the {self.max_context} "
                "that this bundle was made for.",
                "Ask for a shorter answer, or export with a larger max_context.",
            )
        self._lengths.rewind(start)
        binding = self._binding
        # Bound arrays must outlive the run: these names hold them.
        embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        mask = np.ones((1, length), np.int64)
        positions = np.arange(start, length, dtype=np.int64)[None]
        binding.bind_cpu_input("inputs_embeds", embeddings)
        binding.bind_cpu_input("attention_mask", mask)
        binding.bind_cpu_input("position_ids", positions)
        binding.bind_output("logits")
        self._decoder.run_with_iobinding(binding)
        self._lengths.add(length)
        # Outputs come in the order in which they were bound: the cache first, then these.
        logits: Array = binding.get_outputs()[-1].numpy().reshape(-1)
        return logits, CacheState(length)

    def _new_cache(self) -> list[tuple[str, str, Any]]:
        """Return past, present and the zeroed buffer of `max_context` positions that both are."""
        cache = []
        for value in self._decoder.get_inputs():
            if not value.name.startswith("past_key_values."):
                continue
            _, heads, _, size = value.shape
            shape = (1, heads, self.max_context, size)
            buffer = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
            present = value.name.replace("past_key_values.", "present.")
            cache.append((value.name, present, buffer))
        return cache


def adapter_files(bundle: Bundle) -> AdapterFiles | None:
    """Return the files of the adapter that a bundle was opened for; None where it has none."""
    if bundle.adapter is None:
        return None
    roles = {str(entry["role"]): name for name, entry in bundle.manifest["files"].items()}
    decoder, vision = roles.get("adapter"), roles.get("adapter_vision")
    return AdapterFiles(
        bundle.folder / decoder if decoder else None, bundle.folder / vision if vision else None
    )


def _session(role: str, files: dict[str, Path], threads: int) -> Any:
    path = files[role]
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: expected the ONNX graph `{role}`.")
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    use_threads(options, threads)
    # Errors reach the user as exceptions; the log would print them a second time.
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        raise ArtifactError(
            f"{path} cannot be loaded by onnxruntime {ort.__version__}: {_first_line(error)}",
            "The file was altered or cut short; export it again.",
        ) from error
    names = {value.name for value in session.get_inputs()}
    if not _INPUTS[role] <= names:
        raise ArtifactError(
            f"{path} has the inputs {', '.join(sorted(names)[:4])}; as `{role}` it must have "
            f"{', '.join(sorted(_INPUTS[role]))}.",
            "The files of the bundle were exchanged; export it again.",
        )
    return session


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
