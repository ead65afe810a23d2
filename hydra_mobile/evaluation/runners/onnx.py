"""Runs the three ONNX graphs of a bundle with onnxruntime.

The cache lives in one buffer per layer that the decoder writes in place: binding past and present
to the same memory saves copying the cache at every token. A state is therefore a length; going
back to an earlier state forgets what came after, and a state that was forgotten is refused.

Knows onnxruntime and the names of inputs; knows no prompt. Called by `hydra_mobile.evaluation`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from hydra_export.bundle import Bundle
from hydra_export.targets.base import METHODS, TEXT_DECODER, TOKEN_EMBEDDING, VISION_ENCODER
from hydra_mobile.errors import ArtefactError, HydraError
from hydra_mobile.evaluation.runners.base import Array, CacheLengths, CacheState, Runner
from hydra_mobile.models.processor import MobileVLMProcessor

#: Role of a file in the bundle -> the inputs that its graph must have (the decoder has more).
_INPUTS = {
    VISION_ENCODER: {"pixel_values"},
    TOKEN_EMBEDDING: {"input_ids"},
    TEXT_DECODER: {"inputs_embeds", "attention_mask", "position_ids"},
}


class OnnxRunner(Runner):
    """The graphs of one folder.

    Args:
        files: role (each of `METHODS`) -> file.
        processor: tokenizer, template and preprocessing of the model.
        max_context: tokens that the cache holds.
        precision: name of the preset.
        threads: threads of each operator; 0 leaves the choice to onnxruntime.

    Raises:
        ArtefactError: a file is missing, is no ONNX graph or is another graph than its role says.
    """

    name: ClassVar[str] = "onnx"

    def __init__(
        self,
        files: dict[str, Path],
        processor: MobileVLMProcessor,
        max_context: int,
        precision: str,
        threads: int = 0,
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
        # Lengths of the states that can still be used, oldest first.
        self._lengths = CacheLengths()
        self._binding = self._bind_cache()
        self.load_seconds = time.perf_counter() - started

    @classmethod
    def load(cls, path: Path, *, threads: int = 0) -> OnnxRunner:
        """Load the bundle at `path`.

        Raises:
            ArtefactError: the folder is no bundle of the ONNX runtime, or a file was altered.
        """
        bundle = Bundle.open(Path(path))
        if bundle.runtime != cls.name:
            raise ArtefactError(
                f"{path} is a bundle for the runtime `{bundle.runtime}`, not `{cls.name}`."
            )
        return cls(
            {role: bundle.file(role) for role in METHODS},
            bundle.processor(),
            bundle.limits.max_context,
            bundle.preset.name,
            threads,
        )

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
        output: Array = self._vision.run(None, {"pixel_values": pixels})[0]
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

    def _bind_cache(self) -> Any:
        """Bind past and present of every layer to one zeroed buffer of `max_context` positions."""
        binding = self._decoder.io_binding()
        for value in self._decoder.get_inputs():
            if not value.name.startswith("past_key_values."):
                continue
            _, heads, _, size = value.shape
            shape = (1, heads, self.max_context, size)
            buffer = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
            binding.bind_ortvalue_input(value.name, buffer)
            present = value.name.replace("past_key_values.", "present.")
            binding.bind_ortvalue_output(present, buffer)
        return binding


def _session(role: str, files: dict[str, Path], threads: int) -> Any:
    path = files[role]
    if not path.is_file():
        raise ArtefactError(f"{path} is missing: expected the ONNX graph `{role}`.")
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Errors reach the user as exceptions; the log would print them a second time.
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        raise ArtefactError(
            f"{path} cannot be loaded by onnxruntime {ort.__version__}: {_first_line(error)}",
            "The file was altered or cut short; export it again.",
        ) from error
    names = {value.name for value in session.get_inputs()}
    if not _INPUTS[role] <= names:
        raise ArtefactError(
            f"{path} has the inputs {', '.join(sorted(names)[:4])}; as `{role}` it must have "
            f"{', '.join(sorted(_INPUTS[role]))}.",
            "The files of the bundle were exchanged; export it again.",
        )
    return session


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
