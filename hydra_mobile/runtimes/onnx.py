"""Runs the three ONNX graphs of a bundle with onnxruntime.

The cache lives in one buffer per layer that the decoder writes in place: binding past and present
to the same memory saves copying the cache at every token. A state is therefore a length; going
back to an earlier state forgets what came after, and a state that was forgotten is refused.

A base program takes an adapter from a file. Its tensors stay bound between calls, and another
adapter takes their place without loading anything else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import METHODS, TEXT_DECODER, TOKEN_EMBEDDING, VISION_ENCODER
from hydra_mobile.bundle.lora_file import AdapterFiles, filled
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.bundle.onnx_files import external_files
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.integrity import require_inside
from hydra_mobile.runtimes.base import Array, BundleRuntime, CacheLengths, CacheState
from hydra_mobile.runtimes.onnx_threads import share_pool, use_threads

#: Role of a file in the bundle -> the inputs that its graph must have (the decoder has more).
_INPUTS = {
    VISION_ENCODER: {"pixel_values"},
    TOKEN_EMBEDDING: {"input_ids"},
    TEXT_DECODER: {"inputs_embeds", "attention_mask", "position_ids"},
}


class OnnxRuntime(BundleRuntime):
    """The three graphs of one bundle, with the adapter that the bundle was opened for.

    Args:
        bundle: opened, so whole.
        threads: threads of each operator; 0 leaves the choice to onnxruntime.

    Raises:
        ArtifactError: a file is no ONNX graph, is another graph than its role says, or reads a
            file that the manifest does not list; the adapter is damaged or belongs to another
            program.
    """

    name = "onnx"
    title = "ONNX Runtime"
    summary = "bundles in onnxruntime, on the CPU"
    extra = "onnx"
    packages = ("onnxruntime",)

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        super().__init__(bundle)
        for role in METHODS:
            _require_listed_data(bundle, bundle.file(role))
        sessions = {role: _session(role, bundle.file(role), threads) for role in METHODS}
        self._vision = sessions[VISION_ENCODER]
        self._embedding = sessions[TOKEN_EMBEDDING]
        self._decoder = sessions[TEXT_DECODER]
        self._cache = self._new_cache()
        self.use_adapter(adapter_files(bundle))

    @classmethod
    def _load(cls, bundle: Bundle, threads: int) -> Self:
        return cls(bundle, threads)

    @classmethod
    def own_process(cls, threads: int) -> None:
        """Let all graphs of this process share one pool of threads."""
        cls.require_installed()
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

    def _encode_image(self, pixels: Array) -> Array:
        from onnxruntime import OrtValue

        given = {"pixel_values": OrtValue.ortvalue_from_numpy(pixels), **self._vision_adapter}
        output: Array = self._vision.run_with_ort_values(None, given)[0].numpy()
        return output

    def _embed(self, ids: list[int]) -> Array:
        output: Array = self._embedding.run(None, {"input_ids": np.array([ids], np.int64)})[0]
        return output

    def _decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        start = state.length
        length = start + embeddings.shape[1]
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
        from onnxruntime import OrtValue

        cache = []
        for value in self._decoder.get_inputs():
            if not value.name.startswith("past_key_values."):
                continue
            _, heads, _, size = value.shape
            shape = (1, heads, self.max_context, size)
            buffer = OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
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


def _require_listed_data(bundle: Bundle, graph: Path) -> None:
    """Raise unless every file that a graph reads tensors from is in the manifest, so hashed."""
    for name in sorted(external_files(graph)):
        require_inside(name, str(graph))
        listed = (graph.parent.relative_to(bundle.folder) / name).as_posix()
        if listed not in bundle.manifest["files"]:
            raise ArtifactError(
                f"{graph} reads weights from `{name}`, which {MANIFEST} does not list: nothing "
                "vouches for them.",
                "Export the bundle again.",
            )


def _session(role: str, path: Path, threads: int) -> Any:
    import onnxruntime as ort

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
