"""The ExecuTorch runtime: a bundle's `.pte` in ExecuTorch's Python runtime.

Loads the program as a Module, which gives every method its own memory. The runtime's `Program`
class shares one arena between methods: a call of `token_embedding` between two calls of
`text_decoder` then overwrites the key-value cache, with no error and a right first token.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import TEXT_DECODER, TOKEN_EMBEDDING, VISION_ENCODER
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.runtimes.base import Array, BundleRuntime, CacheState

if TYPE_CHECKING:
    import torch


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


class ExecuTorchRuntime(BundleRuntime):
    """One `.pte` with its cache inside; a state is a position in it."""

    name = "executorch"
    title = "ExecuTorch"
    summary = "bundles in ExecuTorch's Python runtime"
    extra = "executorch"
    packages = ("executorch", "torchao")

    def __init__(self, bundle: Bundle, module: Any, threads: int) -> None:
        super().__init__(bundle)
        #: Threads of the runtime's pool, which all programs of the process share.
        self.threads = threads
        self._module = module

    @classmethod
    def _load(cls, bundle: Bundle, threads: int) -> Self:
        library = import_library()
        program = bundle.file("program")
        try:
            with _native_standard_error_kept():
                _set_threads(library, threads)
                module = library._load_for_executorch(str(program))
                runtime = cls(bundle, module, _thread_count(library))
                runtime._touch_every_method()
        except RuntimeError as error:
            raise ArtifactError(
                f"{program} does not load in this ExecuTorch runtime: {error}",
                f"The bundle was made with {bundle.manifest['versions']}; compare the versions.",
            ) from error
        return runtime

    def _touch_every_method(self) -> None:
        """Call each method once: delegates pack their weights at the first call."""
        self.encode_image(np.zeros(self.pixel_shape, dtype=np.float32))
        self.decode(self.embed([0]), CacheState())

    def _run(self, method: str, *inputs: torch.Tensor) -> Array:
        # Strides are not passed on: a non-contiguous tensor would be read as if it were.
        output = self._module.run_method(method, [tensor.contiguous() for tensor in inputs])[0]
        return np.array(output.numpy(), dtype=np.float32)

    def _encode_image(self, pixels: Array) -> Array:
        import torch

        return self._run(VISION_ENCODER, torch.from_numpy(np.ascontiguousarray(pixels)))

    def _embed(self, ids: list[int]) -> Array:
        import torch

        step = self.max_prefill
        parts = [
            self._run(TOKEN_EMBEDDING, torch.tensor([ids[at : at + step]], dtype=torch.long))
            for at in range(0, len(ids), step)
        ]
        return np.concatenate(parts, axis=1)

    def _decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        import torch

        count = embeddings.shape[1]
        tensor = torch.from_numpy(np.ascontiguousarray(embeddings, dtype=np.float32))
        logits = np.empty(0, dtype=np.float32)
        for at in range(0, count, self.max_prefill):
            chunk = tensor[:, at : at + self.max_prefill]
            logits = self._run(TEXT_DECODER, chunk, torch.tensor([state.length + at]))
        return logits.reshape(-1), CacheState(state.length + count)


def import_library() -> Any:
    """Import the runtime, with the operators that bundles use."""
    import executorch.extension.llm.custom_ops.custom_ops
    import executorch.kernels.quantized  # noqa: F401 (both imports register kernels)
    from executorch.extension.pybindings import portable_lib

    return portable_lib


def _set_threads(library: Any, threads: int) -> None:
    if threads > 0 and threads != _thread_count(library):
        # The only way that the Python runtime offers; programs loaded before keep working.
        library._unsafe_reset_threadpool(threads)


def _thread_count(library: Any) -> int:
    return int(library._threadpool_get_thread_count())
