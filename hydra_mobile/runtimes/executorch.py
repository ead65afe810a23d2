"""The ExecuTorch runner: a bundle's `.pte` in ExecuTorch's Python runtime.

Loads the program as a Module, which gives every method its own memory. The runtime's `Program`
class shares one arena between methods: a call of `token_embedding` between two calls of
`text_decoder` then overwrites the key-value cache, with no error and a right first token.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import executorch.extension.llm.custom_ops.custom_ops
import executorch.kernels.quantized  # noqa: F401 (both imports register kernels)
import numpy as np
import torch
from executorch.extension.pybindings import portable_lib

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import TEXT_DECODER, TOKEN_EMBEDDING, VISION_ENCODER
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.runtimes.base import Array, CacheState, Runtime


@contextlib.contextmanager
def _native_standard_error_kept() -> Iterator[None]:
    """Hold back what the runtime prints while it loads; show it only when loading fails.

    It complains about missing files of phones on every start on a computer.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(real, kept.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)


class ExecuTorchRuntime(Runtime):
    """One `.pte` with its cache inside; a state is a position in it."""

    name = "executorch"

    def __init__(self, bundle: Bundle, module: Any, threads: int) -> None:
        self.bundle = bundle
        self.processor = bundle.processor()
        self.max_context = bundle.limits.max_context
        self.precision = bundle.preset.name
        #: Threads of the runtime's pool, which all programs of the process share.
        self.threads = threads
        self.load_seconds = 0.0
        self._module = module
        self._max_prefill = bundle.limits.max_prefill
        self._vocabulary = bundle.shapes["vocab_size"]
        self._hidden = bundle.shapes["hidden_size"]

    @classmethod
    def load(cls, path: Path, *, threads: int = 0) -> ExecuTorchRuntime:
        """Open the bundle at `path`, check its hashes and load its program.

        Raises:
            ArtifactError: incomplete or altered bundle, one for another runtime, or a program
                that this runtime cannot load.
        """
        bundle = Bundle.open(Path(path))
        if bundle.runtime != cls.name:
            raise ArtifactError(
                f"{path} is a bundle for the runtime `{bundle.runtime}`, not `{cls.name}`."
            )
        start = time.perf_counter()
        program = bundle.file("program")
        try:
            with _native_standard_error_kept():
                _set_threads(threads)
                module = portable_lib._load_for_executorch(str(program))
                runner = cls(bundle, module, _thread_count())
                runner._touch_every_method()
        except RuntimeError as error:
            raise ArtifactError(
                f"{program} does not load in this ExecuTorch runtime: {error}",
                f"The bundle was made with {bundle.manifest['versions']}; compare the versions.",
            ) from error
        runner.load_seconds = time.perf_counter() - start
        return runner

    def _touch_every_method(self) -> None:
        """Call each method once: delegates pack their weights at the first call."""
        size = self.bundle.shapes["image_size"]
        self.encode_image(np.zeros((1, 3, size, size), dtype=np.float32))
        self.decode(self.embed([0]), CacheState())

    def _run(self, method: str, *inputs: torch.Tensor) -> Array:
        # Strides are not passed on: a non-contiguous tensor would be read as if it were.
        output = self._module.run_method(method, [tensor.contiguous() for tensor in inputs])[0]
        return np.array(output.numpy(), dtype=np.float32)

    def encode_image(self, pixels: Array) -> Array:
        """Map pixels float32 [1, 3, H, W] to image embeddings float32 [1, N, hidden]."""
        size = self.bundle.shapes["image_size"]
        if pixels.shape != (1, 3, size, size):
            raise HydraError(f"Pixels have shape {pixels.shape}, expected (1, 3, {size}, {size}).")
        return self._run(VISION_ENCODER, torch.from_numpy(np.ascontiguousarray(pixels)))

    def embed(self, ids: list[int]) -> Array:
        """Map n token ids to embeddings float32 [1, n, hidden]."""
        # The kernel reads whatever lies outside of the table, or ends the process.
        wrong = [token for token in ids if not 0 <= token < self._vocabulary]
        if wrong:
            raise HydraError(f"Token ids {wrong[:5]} lie outside of 0..{self._vocabulary - 1}.")
        if not ids:
            return np.zeros((1, 0, self._hidden), dtype=np.float32)
        step = self._max_prefill
        parts = [
            self._run(TOKEN_EMBEDDING, torch.tensor([ids[at : at + step]], dtype=torch.long))
            for at in range(0, len(ids), step)
        ]
        return np.concatenate(parts, axis=1)

    def decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Append embeddings [1, n, hidden]; return the last logits [V] and the new state."""
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
        tensor = torch.from_numpy(np.ascontiguousarray(embeddings, dtype=np.float32))
        logits = np.empty(0, dtype=np.float32)
        for at in range(0, count, self._max_prefill):
            chunk = tensor[:, at : at + self._max_prefill]
            logits = self._run(TEXT_DECODER, chunk, torch.tensor([state.length + at]))
        return logits.reshape(-1), CacheState(state.length + count)


def _set_threads(threads: int) -> None:
    if threads > 0 and threads != _thread_count():
        # The only way that the Python runtime offers; programs loaded before keep working.
        portable_lib._unsafe_reset_threadpool(threads)


def _thread_count() -> int:
    return int(portable_lib._threadpool_get_thread_count())
